"""How to cite: this version of the benchmark, and the paper that it follows."""

from __future__ import annotations

import streamlit as st

from leaderboard import tables
from medground.hub.links import addresses, links

THIS = """@misc{{medground,
  title = {{MedGround: a causally verified benchmark of visual attribution for chest X-ray models}},
  author = {{{{The MedGround authors}}}},
  year = {{2026}},
  version = {{{version}}}
}}"""
PAPER = """@article{xiong2026rethinking,
  title = {Rethinking Visual Attribution for Chest X-ray Reasoning in LVLMs},
  author = {Xiong and others},
  year = {2026}
}"""


def show() -> None:
    """Both entries, ready to be copied."""
    st.markdown("Cite the work that introduced the filter, this benchmark, and the sources whose films you used.")
    made = tables.made_by("data/board/board.parquet").get("settings", {})
    st.code(THIS.format(version=made.get("dataset", "")), language=None, wrap_lines=True)
    st.code(PAPER, language=None, wrap_lines=True)
    if told := addresses(links(tables.settings())):
        st.markdown(told)
    if made:
        said = ", ".join(f"{name} {value}" for name, value in made.items())
        st.caption(f"The version is of the cases and their regions. The board was drawn with: {said}.")
