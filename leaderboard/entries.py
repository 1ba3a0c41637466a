"""What is known about one entry, as a card."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from leaderboard import address, names, tables
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
    """The entry of a row of the board: who made it, how, where it stands and why, and what it claimed."""
    known, said = names.about(row.entry), tables.card(row.entry)
    called = names.everybody()
    with st.container(border=True):
        st.markdown(f"**{plain(known.name)}**")
        if said is None:
            kind = "A floor: it looks at no model" if row.kind == "floor" else "A published method"
            by = f" {known.authors}{f', {known.date}' if known.date else ''}." if known.authors else ""
            st.caption(plain(f"{kind}. Reproduced here by the pipeline.{by}"))
        else:
            facts(said)
            if known.date:
                st.caption(f"Received {plain(known.date)}")
        if isinstance(row.reason, str):
            st.markdown(f"Not ranked: {plain(row.reason)}.")
        claimed = tables.facts().get(row.entry, {}).get("claimed")
        if claimed is not None:
            board = tables.board()
            overall = board[(board.entry == row.entry) & (board.track == "all") & (board.split == "all")]
            with st.container(horizontal=True):
                st.metric("IoU that its authors claim", f"{claimed:.3f}", width="content")
                st.metric("IoU scored here, all cases", f"{overall.iou.iloc[0]:.3f}", width="content")
        st.caption(f"Its id, for the command line and the tables: {plain(row.entry)}")
        with st.container(horizontal=True):
            if known.link:
                st.link_button("Paper or code", known.link, icon=":material/open_in_new:")
            name = called[row.entry]
            address.link("Its maps", "cases", maps=name)
            address.link("On pairs of known causes", "causes", of=name)
            address.link("Compare it", "compare", second=name)


def facts(said: dict) -> None:
    """A card's content, as text: it comes from people."""
    lines = [(label, said[key]) for key, label in LABELS.items() if said.get(key) not in (None, "", {}, [])]
    st.text("\n".join(f"{label}: {_written(value)}" for label, value in lines))


def preview(
    folder: Path, report: submission.Report, cases: list[dict], split: str, most: int | None = LEADERS
) -> list[dict]:
    """The rows of a split's board with the entry of a folder among the ``most`` first (None: all) and the floors."""
    board = tables.board()
    board = board[(board.track == "all") & (board.split == split)].set_index("entry", drop=False)
    board = board.loc[tables.in_order(split)]  # those without a rank come last
    rivals = pd.concat([board[board.kind != "floor"].head(most or len(board)), board[board.kind == "floor"]])
    kinds = dict(zip(rivals.entry, rivals.kind, strict=True))
    return board_with(folder, report, cases, tables.score_table(tuple(kinds)), kinds, split, **tables.resampling())


def named(rows: list[dict]) -> pd.DataFrame:
    """Rows of a preview as a frame with names, the new entry called as it is there."""
    called = names.everybody()
    table = pd.DataFrame(rows)
    return table.assign(name=[called.get(entry, entry) for entry in table.entry])


def _written(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_written(setting)}" for name, setting in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
