"""Leaderboard: who leads on which track, and whether the difference means anything."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from leaderboard import charts, entries, tables
from leaderboard.tables import METRICS
from leaderboard.text import safe_csv

FAITHFUL = {"deletion": "Deletion ↓", "insertion": "Insertion ↑"}
KINDS = {"method": "Methods", "submission": "Submissions", "floor": "Floors"}
FAITHFUL_HELP = "Area under the answer's probability while the film goes (or comes back) in the order of the map"
SHOWN = 25  # entries drawn at once


def track(board: pd.DataFrame) -> str:
    """Let the reader choose a track: all cases, or those of one mode, model, source or finding."""
    names = board.track.unique()
    axes = {"all": ["all"]}
    for name in names:
        axis, _, value = name.partition("=")
        if value:
            axes.setdefault(axis, []).append(value)
    axis = st.selectbox("Track", list(axes), format_func=lambda a: "All cases" if a == "all" else f"One {a}")
    if axis == "all":
        return "all"
    return f"{axis}={st.selectbox(axis.capitalize(), axes[axis])}"


def filters(board: pd.DataFrame) -> pd.DataFrame:
    """The rows of the board that the reader wants to see, in the order they want."""
    first, second = st.columns([2, 3])
    with first, st.container(horizontal=True):
        splits = [split for split in ("test", "dev", "all") if split in set(board.split)]
        split = st.segmented_control("Split", splits, default=splits[0], required=True) or splits[0]
    with second, st.container(horizontal=True):
        chosen = track(board)
    board = board[(board.split == split) & (board.track == chosen)]
    with first:
        kinds = st.pills("Show", list(KINDS), default=list(KINDS), format_func=KINDS.get, selection_mode="multi")
    with second, st.container(horizontal=True):
        word = st.text_input("Find an entry", placeholder="part of its name")
        order = st.selectbox(
            "Sort by",
            ["rank", *METRICS, *FAITHFUL, "seconds"],
            format_func=lambda m: {**METRICS, **FAITHFUL}.get(m, m.capitalize()),
        )
    board = board[board.kind.isin(kinds) & board.entry.str.contains(word, case=False, regex=False)]
    return board.sort_values([order, "entry"], ascending=order in ("rank", "seconds", "deletion"), ignore_index=True)


def readable(board: pd.DataFrame) -> pd.DataFrame:
    """The board as people read it: intervals as text, two or three decimals, no internals."""
    table = pd.DataFrame({"Entry": board.entry, "Rank": board["rank"], "IoU": board.iou})
    table["95 % interval"] = [f"{low:.3f}–{high:.3f}" for low, high in zip(board.iou_low, board.iou_high, strict=True)]
    table["Ties"] = board.tie
    table["Rank range"] = [
        f"{low}–{high}" if low < high else str(low) for low, high in zip(board.rank_low, board.rank_high, strict=True)
    ]
    table["Kind"] = board.kind.map({"method": "reproduced here"}).fillna(board.kind)
    for key, name in list(METRICS.items())[1:]:
        table[name] = board[key]
    for key, name in FAITHFUL.items():
        table[name] = [_measured(row, key) for row in board.to_dict("records")]
    table["Coverage"] = board.coverage
    table["Cases"] = board.cases
    table["Seconds a case"] = board.seconds
    table["IoU, paper's scorer"] = board.iou_published
    claimed = {name: entry["claimed"] for name, entry in tables.facts().items() if entry.get("claimed") is not None}
    if claimed:
        table["IoU, claimed"] = board.entry.map(claimed)
    return table


def _measured(row: dict, key: str) -> str:
    """Deletion or insertion with its interval, where it was measured."""
    if not row["measured"]:
        return "not measured"
    return f"{row[key]:.3f} ({row[f'{key}_low']:.3f}–{row[f'{key}_high']:.3f})"


def show(board: pd.DataFrame) -> None:
    """Chart, table, download, and the entry that is picked in the table."""
    drawn = board.head(SHOWN)
    st.altair_chart(
        charts.whiskers(drawn), alt="Mean IoU with 95 % interval of each entry; the same numbers are in the table"
    )
    if len(board) > SHOWN:
        st.caption(f"The first {SHOWN} of {len(board)} entries are drawn; the table has them all.")
    table = readable(board)
    decimals = st.column_config.NumberColumn(format="%.3f")
    picked = st.dataframe(
        table,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        key="board_table",
        column_config={
            "Rank": st.column_config.NumberColumn(width=50),
            "Rank range": st.column_config.TextColumn(width=80, help="95 % interval of the rank"),
            "Entry": st.column_config.TextColumn(pinned=True, width=130),
            "Ties": st.column_config.TextColumn(width=50, help="Entries that share a letter cannot be told apart"),
            "Coverage": st.column_config.NumberColumn(format="percent", help="Share of the cases with a valid map"),
            "Seconds a case": st.column_config.NumberColumn(format="%.2f"),
            **{name: st.column_config.TextColumn(help=FAITHFUL_HELP) for name in FAITHFUL.values()},
            **{name: decimals for name in (*METRICS.values(), "IoU, paper's scorer", "IoU, claimed")},
        },
        alt="The board: one row an entry",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download this table", safe_csv(board), "medground-board.csv", "text/csv", icon=":material/download:"
        )
        st.caption("Tick a row to read about its entry." + measured_on(board))
    if picked.selection.rows:
        entries.card(board.iloc[picked.selection.rows[0]])


def measured_on(board: pd.DataFrame) -> str:
    """On how many cases deletion and insertion were measured, which costs hundreds of forward passes a case."""
    most = board.measured.max()
    return f" Deletion and insertion are means over {most:,} of the cases." if most else ""


def explain() -> None:
    """How to read the board."""
    with st.expander("How to read this"):
        st.markdown(
            """
- **IoU** compares the boxes of an entry's map with the expert's, case by case; a missing or invalid map scores 0.
- The **95 % interval** is a bootstrap over patients. Entries that share a **tie letter** are not told apart by a
  paired, Holm-corrected test; read them as equal, whatever their rank.
- **Floors** look at no model: a random map, the centre of the film, the whole film. The dashed line is the best of
  those shown. An entry that does not clear it has shown nothing.
- **Pointing**, **energy inside** and **average precision** need no threshold.
- **Deletion** and **insertion** ask the model and not the expert: how likely its answer stays while the film is taken
  away, what the map calls most important first (lower is better), and how soon it comes back as the blurred film
  is sharpened in the same order (higher is better). They are measured on some test cases, and do not rank.
- The **paper's scorer** is kept beside ours so that published numbers can be compared; it does not rank.
"""
        )


st.title("Leaderboard")
board = tables.board()
st.markdown(
    "Does the map that explains a model's answer show what caused it? Entries are scored on verified cases only."
)
if board.empty:
    st.info("The board is empty. Run `dvc repro` to score the baselines.", icon=":material/inbox:")
else:
    chosen = filters(board)
    if chosen.empty:
        st.info("No entry fits these filters. Clear the search, or show more kinds.", icon=":material/filter_alt_off:")
    else:
        show(chosen)
    explain()
