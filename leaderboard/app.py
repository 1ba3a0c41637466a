"""The app's frame: `streamlit run leaderboard/app.py` from the repository's root."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

HERE = Path(__file__).resolve().parent
if str(HERE.parent) not in sys.path:  # Streamlit puts only this folder there
    sys.path.insert(0, str(HERE.parent))

from leaderboard import access  # noqa: E402
from leaderboard.text import plain  # noqa: E402
from medground.errors import MedgroundError  # noqa: E402

st.set_page_config(page_title="MedGround", page_icon=":material/center_focus_strong:", layout="wide")
maintain = st.Page(HERE / "maintain.py", title="Maintain", icon=":material/rule_settings:")
page = st.navigation(
    [
        st.Page(HERE / "board.py", title="Leaderboard", icon=":material/leaderboard:", default=True),
        st.Page(HERE / "compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page(HERE / "cases.py", title="Cases", icon=":material/radiology:"),
        st.Page(HERE / "submit.py", title="Submit", icon=":material/upload_file:"),
        st.Page(HERE / "benchmark.py", title="Benchmark", icon=":material/fact_check:"),
        maintain,
    ],
    position="top",
)
st.html(HERE / "style.css")
if access.just_signed_in() and page != maintain:
    st.switch_page(maintain)  # the only page with a sign-in is where it began
try:
    page.run()
except MedgroundError as error:
    st.error(plain(error), icon=":material/error:")
