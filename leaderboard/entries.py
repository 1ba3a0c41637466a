"""What is known about one entry, as a card."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pandas as pd
import streamlit as st

from leaderboard import tables
from leaderboard.text import plain
from medground import submission
from medground.submission.preview import preview as board_with

LABELS = {
    "method": "Method",
    "version": "Version",
    "authors": "Authors",
    "link": "Link",
    "licence": "Licence of the maps",
    "models": "Models",
    "modes": "Modes",
    "hardware": "Hardware",
    "settings": "Settings",
    "used_test_regions": "Used test regions",
    "trained_on_sources": "Trained on the sources",
}

LEADERS = 3  # that a preview shows


def card(row: pd.Series) -> None:
    """The entry of a row of the board: who made it, how, and what it claimed."""
    with st.container(border=True):
        st.markdown(f"**{plain(row.entry)}**")
        said = tables.card(row.entry)
        if said is None:
            kind = "A floor: it looks at no model" if row.kind == "floor" else "A published method"
            st.caption(f"{kind}. Reproduced here by the pipeline.")
        else:
            facts(said)
        claimed = tables.facts().get(row.entry, {}).get("claimed")
        if claimed is not None:
            board = tables.board()
            overall = board[(board.entry == row.entry) & (board.track == "all") & (board.split == "all")]
            with st.container(horizontal=True):
                st.metric("IoU that its authors claim", f"{claimed:.3f}", width="content")
                st.metric("IoU scored here, all cases", f"{overall.iou.iloc[0]:.3f}", width="content")
        st.markdown(f"[Its maps](/cases?entries={quote(row.entry)})")


def facts(said: dict) -> None:
    """A card's content, as text: it comes from people."""
    lines = [(label, said[key]) for key, label in LABELS.items() if said.get(key) not in (None, "", {}, [])]
    st.text("\n".join(f"{label}: {_written(value)}" for label, value in lines))


def preview(folder: Path, report: submission.Report, cases: list[dict], split: str) -> list[dict]:
    """The rows of the board of a split with the entry of a folder among the leaders and the floors."""
    board = tables.board()
    board = board[(board.track == "all") & (board.split == split)].sort_values(
        ["rank", "entry"]
    )  # those without a rank come last
    rivals = pd.concat([board[board.kind != "floor"].head(LEADERS), board[board.kind == "floor"]])
    kinds = dict(zip(rivals.entry, rivals.kind, strict=True))
    return board_with(folder, report, cases, tables.score_table(tuple(kinds)), kinds, split, **tables.resampling())


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_written(setting)}" for name, setting in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
