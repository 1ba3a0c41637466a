"""The app's frame: `streamlit run leaderboard/app.py` from the repository's root."""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path

import streamlit as st

HERE = Path(__file__).resolve().parent
PATIENCE = 4  # times that a page is tried again before it says that a table is not there
if str(HERE.parent) not in sys.path:  # Streamlit puts only this folder there
    sys.path.insert(0, str(HERE.parent))

from leaderboard import access, uploads  # noqa: E402
from medground.errors import MedgroundError  # noqa: E402


@st.cache_resource(show_spinner=False)
def spare() -> None:
    """Leave what the first visitor brought into memory, modules above all, out of the search for garbage that Streamlit
    makes after each run; else that takes as long as the page."""
    gc.collect()
    gc.freeze()


st.set_page_config(page_title="MedGround", page_icon=HERE / "icon.png", layout="wide")
uploads.bound()
decides = access.maintainer() is not None
maintain = st.Page(
    HERE / "maintain.py",
    title="Maintain",
    icon=":material/rule_settings:",
    visibility="visible" if decides else "hidden",  # it has an address for those who sign in there
)
submit = st.Page(HERE / "submit.py", title="Submit", icon=":material/upload_file:")
page = st.navigation(
    [
        st.Page(HERE / "board.py", title="Leaderboard", icon=":material/leaderboard:", default=True),
        st.Page(HERE / "causes.py", title="Known causes", icon=":material/call_split:"),
        st.Page(HERE / "models.py", title="Models", icon=":material/neurology:"),
        st.Page(HERE / "compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page(HERE / "cases.py", title="Cases", icon=":material/radiology:"),
        st.Page(HERE / "benchmark.py", title="Benchmark", icon=":material/fact_check:"),
        submit,
        maintain,
    ],
    position="top",
)
st.html(HERE / "style.css")
st.html(HERE / "back.html", unsafe_allow_javascript=True)
if access.just_signed_in() and page not in (maintain, submit):
    st.switch_page(maintain if decides else submit)  # the provider sends everyone to the first page
try:
    page.run()
    spare()
    st.session_state.waited = 0
except MedgroundError as error:
    # What makes the tables replaces each in one step, but DVC then takes a file away for a moment, to link it.
    st.session_state.waited = st.session_state.get("waited", 0) + 1
    if st.session_state.waited <= PATIENCE:
        time.sleep(0.5)
        st.rerun()
    st.session_state.waited = 0
    st.warning("This page is being made, or its tables are not here yet. Try again in a minute.",
               icon=":material/hourglass:")  # fmt: skip
    with st.expander("What is missing"):
        st.text(str(error))
