"""Leaderboard: who leads on which track, and whether the difference means anything."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from leaderboard import charts, entries, tables
from leaderboard.tables import ON_BOARD
from leaderboard.text import safe_csv
from medground.ranking.board import MULTIPLICITY
from medground.scoring import METRICS

KINDS = {"method": "Methods", "submission": "Submissions", "floor": "Floors"}
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
            ["rank", *(name for name in ON_BOARD if name in board and board[name].notna().any()), "seconds"],
            format_func=lambda m: ON_BOARD.get(m, m.capitalize()),
        )
    board = board[board.kind.isin(kinds) & board.entry.str.contains(word, case=False, regex=False)]
    if order == "rank":
        return board.sort_values(["rank", board.order.iloc[0] if len(board) else "entry", "entry"],
                                 ascending=[True, False, True], ignore_index=True)  # fmt: skip
    small_first = order == "seconds" or not METRICS[order].higher_is_better
    return board.sort_values([order, "entry"], ascending=small_first, ignore_index=True)


def readable(board: pd.DataFrame) -> pd.DataFrame:
    """The board as people read it: intervals as text, two or three decimals, no internals."""
    order = board.order.iloc[0]
    table = pd.DataFrame({"Entry": board.entry, "Rank": board["rank"].astype("Int64"), ON_BOARD[order]: board[order]})
    ends = zip(board[f"{order}_low"], board[f"{order}_high"], strict=True)
    table["95 % interval"] = [f"{low:.3f}–{high:.3f}" for low, high in ends]
    table["Ties"] = board.tie.fillna("")
    table["Rank range"] = [_range(low, high) for low, high in zip(board.rank_low, board.rank_high, strict=True)]
    table["Over the best floor"] = board.over_floor
    table["Kind"] = board.kind.map({"method": "reproduced here"}).fillna(board.kind)
    for key, name in ON_BOARD.items():
        if key != order and key in board and board[key].notna().any():
            table[name] = board[key]
    table["Not ranked because"] = board.reason.fillna("")
    table["Sanity checks"] = board.sanity.fillna("")
    table["Coverage"] = board.coverage
    table["Cases"] = board.cases
    table["Seconds a case"] = board.seconds
    table["IoU, paper's scorer"] = board.iou_published
    claimed = {name: entry["claimed"] for name, entry in tables.facts().items() if entry.get("claimed") is not None}
    if claimed:
        table["IoU, claimed"] = board.entry.map(claimed)
    return table


def _range(low: float, high: float) -> str:
    """The interval of a rank; nothing where an entry is not ranked."""
    if pd.isna(low):
        return ""
    return f"{low:.0f}–{high:.0f}" if low < high else f"{low:.0f}"


def show(board: pd.DataFrame) -> None:
    """Chart, table, download, and the entry that is picked in the table."""
    drawn = board.head(SHOWN)
    st.altair_chart(
        charts.whiskers(drawn),
        alt="What the track is ordered by, with its interval, for each entry; the same numbers are in the table",
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
            "Over the best floor": st.column_config.NumberColumn(
                format="%+.3f", help="IoU at equal area less that of the best floor"
            ),
            **{
                name: st.column_config.NumberColumn(format="%.3f", help=METRICS[key].help)
                for key, name in ON_BOARD.items()
            },
            **{name: decimals for name in ("IoU, paper's scorer", "IoU, claimed")},
        },
        alt="The board: one row an entry",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download this table", safe_csv(board), "medground-board.csv", "text/csv", icon=":material/download:"
        )
        st.caption("Tick a row to read about its entry. " + rests_on(board.iloc[0]))
    if picked.selection.rows:
        entries.card(board.iloc[picked.selection.rows[0]])


def rests_on(row: pd.Series) -> str:
    """What the order of a track rests on, and what that leaves open."""
    if row.order == "follows":
        return f"{row.pairs} pairs, {row.cases} verified cases. {MULTIPLICITY}"
    said = f"There are no pairs on this track: {row.cases} verified cases are ordered by {ON_BOARD[row.order].lower()}."
    if isinstance(row.follows_from, str):
        said += f" {ON_BOARD['follows']} is carried over from {row.follows_from}."
    return f"{said} {MULTIPLICITY}"


def explain() -> None:
    """How to read the board."""
    with st.expander("How to read this"):
        st.markdown(
            """
- A **pair** is one film and question that two models answer alike, from causes that are known to differ.
  **Follows** is the share of pairs in which a map is denser on the own cause than on the other's under both models; an
  answer that is the same for both scores 0. Where there are pairs, this is what ranks.
- The **95 % interval** is a bootstrap over patients. Entries that share a **tie letter** are not told apart by a
  paired, Holm-corrected test; read them as equal, whatever their rank.
- **Floors** look at no model. An entry whose interval reaches that of the best floor is listed apart, without a rank.
- **IoU** compares the boxes of an entry's map with the expert's; a missing or invalid map scores 0. **At equal area**
  it knows no size: the hottest pixels, as many as the expert's region has.
- **Pointing**, **energy inside** and **average precision** need no threshold.
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
