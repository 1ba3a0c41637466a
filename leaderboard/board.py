"""Leaderboard: the question, who leads on which track, and whether the difference means anything."""

from __future__ import annotations

import hashlib

import pandas as pd
import streamlit as st

from leaderboard import address, charts, cite, entries, names, story, tables
from leaderboard.tables import ON_BOARD
from leaderboard.text import safe_csv
from medground.ranking.board import MULTIPLICITY
from medground.scoring import METRICS

SPLITS = ("test", "dev", "all")
SHOWN = 25  # entries drawn at once, besides the floors
VIEWS = ("Chart and table", "Heat map")
AXES = ("finding", "model", "mode", "source", "kind of cause")
BY_RANK = "Rank"
THREE = st.column_config.NumberColumn(format="%.3f")
#: The columns that a reader sees at first; the others are in the menu of the table, and in its download.
FIRST = ("Rank", "Method", "{metric}", "95 % interval", "Ties", "Over the best floor", "IoU at equal area", "± 95 %",
         "Kind", "By", "Date", "Link", "Flags", "Sanity checks", "Not ranked because")  # fmt: skip


def track_names(board: pd.DataFrame) -> dict[str, str]:
    """The tracks by the words for them: ``all cases``, ``finding: cardiomegaly``."""
    return {"all cases" if name == "all" else name.replace("=", ": ", 1): name for name in board.track.unique()}


def choices(board: pd.DataFrame) -> tuple[pd.DataFrame, str, str]:
    """The rows that the reader wants to see, in the order they want, and the metric and the view they asked for."""
    tracks = track_names(board)
    splits = [split for split in SPLITS if split in board.split.unique()]
    measured = {ON_BOARD[name]: name for name in ON_BOARD if name in board and board[name].notna().any()}
    address.unknown(
        split=splits, track=tracks, order=[BY_RANK, *measured], show=names.KINDS.values(), view=VIEWS, by=AXES,
        entry=board.name.unique(),
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.segmented_control("Split", splits, default=splits[0], required=True, key="split", bind=BIND)
        track = st.selectbox("Track", list(tracks), key="track", bind=BIND)
        order = st.selectbox(
            "Order by", [BY_RANK, *measured], key="order", bind=BIND,
            help="Changes chart and table. The head of a column orders the table alone.",
        )  # fmt: skip
        word = st.text_input("Find", placeholder="part of a name", key="find", bind=BIND)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        view = st.segmented_control("View", VIEWS, default=VIEWS[0], required=True, key="view", bind=BIND)
        kinds = st.pills(
            "Show", list(names.KINDS.values()), default=list(names.KINDS.values()), selection_mode="multi", key="show",
            bind=BIND,
        )  # fmt: skip
    board = board[(board.split == (split or splits[0])) & (board.track == tracks[track])]
    metric = board.order.iloc[0] if order == BY_RANK else measured[order]
    found = [column.str.contains(word, case=False, regex=False) for column in (board["name"], board.entry)]
    board = board[board.kind.map(names.KINDS).isin(kinds) & (found[0] | found[1])]
    down = not METRICS[metric].higher_is_better
    keys = ["rank", metric, "entry"] if order == BY_RANK else [metric, "entry"]
    return board.sort_values(keys, ascending=[True, down, True][-len(keys) :], ignore_index=True), metric, view or ""


def readable(board: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The board as people read it: names and numbers, no internals."""
    told = names.known()
    known = [told[entry] for entry in board.entry]
    table = pd.DataFrame({"Rank": board["rank"].astype("Int64"), "Method": board.name, ON_BOARD[metric]: board[metric]})
    table["95 % interval"] = _interval(board, metric)
    table["Ties"] = board.tie.fillna("")
    table["Over the best floor"] = board.over_floor
    if metric != "iou_at_area" and board.iou_at_area.notna().any():
        table["IoU at equal area"] = board.iou_at_area
        table["± 95 %"] = _interval(board, "iou_at_area")
    table["Kind"] = board.kind.map(names.KINDS)
    table["By"] = [one.authors for one in known]
    table["Date"] = [one.date for one in known]
    table["Link"] = [one.link for one in known]
    table["Flags"] = [", ".join(one.flags) for one in known]
    table["Sanity checks"] = board.sanity.fillna("")
    table["Not ranked because"] = board.reason.fillna("")
    for key, name in ON_BOARD.items():
        if name not in table and key in board and board[key].notna().any():
            table[name] = board[key]
    table["Rank range"] = [_range(low, high) for low, high in zip(board.rank_low, board.rank_high, strict=True)]
    table["Coverage"] = board.coverage
    table["Cases"] = board.cases
    table["Seconds a case"] = board.seconds
    table["IoU, paper's scorer"] = board.iou_published
    claimed = {name: entry["claimed"] for name, entry in tables.facts().items() if entry.get("claimed") is not None}
    if claimed:
        table["IoU, claimed"] = board.entry.map(claimed)
    table["Id"] = board.entry
    return table


def _interval(board: pd.DataFrame, metric: str) -> list[str]:
    ends = zip(board[f"{metric}_low"], board[f"{metric}_high"], strict=True)
    return ["" if pd.isna(low) else f"{low:.3f}–{high:.3f}" for low, high in ends]


def _range(low: float, high: float) -> str:
    """The interval of a rank; nothing where an entry is not ranked."""
    if pd.isna(low):
        return ""
    return f"{low:.0f}–{high:.0f}" if low < high else f"{low:.0f}"


def drawn(board: pd.DataFrame, metric: str, every: pd.DataFrame) -> pd.DataFrame:
    """What a picture shows: the first entries in their order, and every floor of the track, found or not."""
    measured = board[board[metric].notna()]
    methods = measured[measured.kind != "floor"].head(SHOWN)
    floors = every[(every.kind == "floor") & every[metric].notna()]
    return pd.concat([methods, floors.sort_values([metric, "entry"], ascending=[False, True])], ignore_index=True)


def chart(board: pd.DataFrame, metric: str, every: pd.DataFrame) -> None:
    """The metric with its interval, entry by entry."""
    shown = drawn(board, metric, every)
    if shown.empty:
        return
    first = shown.iloc[0]
    charts.whiskers(
        shown,
        metric,
        ON_BOARD[metric],
        alt=f"{ON_BOARD[metric]} with its 95 % interval for {len(shown)} entries; on top {first['name']} with "
        f"{first[metric]:.3f}; the numbers are in the table below",
    )
    st.caption("Dot: mean. Line: 95 % interval. Dashed: the best floor.")
    left_out = len(board[board.kind != "floor"]) - SHOWN
    if left_out > 0:
        st.caption(f"The first {SHOWN} methods and all floors are drawn; {left_out} more are in the table.")


def table(board: pd.DataFrame, metric: str) -> None:
    """The board as a table; a row that is ticked tells about its entry, wherever the entry then stands."""
    shown, known = readable(board, metric), board.entry.tolist()
    called = dict(zip(board.entry, board.name, strict=True))
    # The rows are those of this order and search; in another one the same row is another entry, hence another key.
    key = "rows_" + hashlib.sha256("\n".join(known).encode()).hexdigest()[:12]
    entry = st.session_state.get("entry")
    chosen = [row for row, name in enumerate(board.name) if name == entry]

    def pick() -> None:
        rows = st.session_state[key].selection.rows
        st.session_state.entry = called[known[rows[0]]] if rows else None

    first = [name.format(metric=ON_BOARD[metric]) for name in FIRST]
    st.dataframe(
        shown,
        hide_index=True,
        height="content" if len(shown) <= 40 else 1000,
        placeholder="–",
        column_order=[name for name in first if name in shown],
        on_select=pick,
        selection_mode="single-row",
        selection_default={"selection": {"rows": chosen}},
        key=key,
        column_config={
            "Rank": st.column_config.NumberColumn(width=50),
            "Rank range": st.column_config.TextColumn(width=80, help="95 % interval of the rank"),
            "Method": st.column_config.TextColumn(pinned=True, width=170),
            "95 % interval": st.column_config.TextColumn(width=105, help=f"of {ON_BOARD[metric].lower()}"),
            "± 95 %": st.column_config.TextColumn("its interval", width=105, help="of IoU at equal area"),
            "Ties": st.column_config.TextColumn(width=50, help="Entries that share a letter cannot be told apart"),
            "Link": st.column_config.LinkColumn(display_text="paper or code", width=100),
            "Date": st.column_config.TextColumn(help="When a submission was received; of a paper its year"),
            "Flags": st.column_config.TextColumn(help="What the authors declare that the method has seen"),
            "Sanity checks": st.column_config.TextColumn(
                help="Does the map change with the model and the question, and not with noise?"
            ),
            "Not ranked because": st.column_config.TextColumn(width=330),
            "Coverage": st.column_config.NumberColumn(format="percent", help="Share of the cases with a valid map"),
            "Seconds a case": st.column_config.NumberColumn(format="%.2f"),
            "Over the best floor": st.column_config.NumberColumn(
                format="%+.3f", help="IoU at equal area less that of the best floor"
            ),
            **{
                name: st.column_config.NumberColumn(format="%.3f", help=METRICS[key].help)
                for key, name in ON_BOARD.items()
            },
            **dict.fromkeys(("IoU, paper's scorer", "IoU, claimed"), THREE),
        },
        alt=f"The board: {len(shown)} entries; the first is {shown.Method.iloc[0]}",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download this table", lambda: safe_csv(shown), "medground-board.csv", "text/csv",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.caption(rests_on(board.iloc[0]))


def rests_on(row: pd.Series) -> str:
    """What the order of a track rests on, and what that leaves open."""
    if row.order == "follows":
        return f"{row.pairs} pairs, {row.cases} verified cases. {MULTIPLICITY}"
    said = f"There are no pairs on this track: {row.cases} verified cases are ordered by {ON_BOARD[row.order].lower()}."
    if isinstance(row.follows_from, str):
        said += f" {ON_BOARD['follows']} is carried over from {row.follows_from}."
    return f"{said} {MULTIPLICITY}"


def about_one(board: pd.DataFrame) -> None:
    """The entry that was picked, in the table or here."""
    picked = st.selectbox(
        "About an entry", sorted(board.name, key=str.casefold), index=None, key="entry", bind=BIND,
        placeholder="Tick a row of the table, or choose here",
    )  # fmt: skip
    rows = board[board.name == picked]
    if len(rows):
        entries.card(rows.iloc[0])


def heat(board: pd.DataFrame, metric: str, every: pd.DataFrame, overall: pd.DataFrame) -> None:
    """Entry by finding, model, mode, source or kind of cause. ``overall`` is the board of all tracks of the split."""
    axis = st.segmented_control("By", AXES, default=AXES[0], required=True, key="by", bind=BIND) or AXES[0]
    shown = drawn(board, metric, every)
    if axis == "kind of cause":
        cells = by_cause(tuple(shown.entry), metric, shown.split.iloc[0])
    else:
        rows = overall[overall.track.str.startswith(f"{axis}=") & overall.entry.isin(shown.entry)]
        cells = pd.DataFrame({"entry": rows.entry, "column": rows.track.str.partition("=")[2], "value": rows[metric]})
        units = rows.pairs.astype(str) + " pairs, " if metric == "follows" else ""
        cells["note"] = units + rows.cases.astype(str) + " cases"
    if cells.empty or cells.value.isna().all():
        st.info("Nothing is measured here on this split.", icon=":material/inbox:")
        return
    called = dict(zip(shown.entry, shown.name, strict=True))
    cells["row"] = pd.Categorical(cells.entry.map(called), list(called.values()))
    cells = cells.sort_values(["row", "column"]).assign(row=lambda c: c.row.astype(str))
    best = cells.loc[cells.value.idxmax()]
    charts.grid(
        cells[["row", "column", "value", "note"]],
        ".2f",
        alt=f"{ON_BOARD[metric]} by method and {axis}; highest: {best.row} on {best.column} with {best.value:.2f}; "
        "the numbers are below",
    )
    st.caption(f"{ON_BOARD[metric]}: {METRICS[metric].help}. Few cases stand behind a cell; the tooltip says how many.")
    with st.expander("The numbers"):
        st.table(cells.pivot(index="row", columns="column", values="value").reindex(called.values()).round(3))


def by_cause(entries: tuple[str, ...], metric: str, split: str) -> pd.DataFrame:
    """Means of a metric by what caused the answer, of the cases whose cause and scores may be shown."""
    known, kinds = tables.cases(), tables.kinds()
    known = known[known.split.isin([split]) | (split == "all")]
    known = known[tables.unhidden(known)]
    scores = tables.metric_by_case(metric, entries, known.case_id).melt(ignore_index=False, value_name="value")
    scores = scores.assign(column=scores.index.map(kinds)).dropna(subset=["column", "value"])
    cells = scores.groupby(["entry", "column"])["value"].agg(["mean", "size"]).reset_index()
    return cells.rename(columns={"mean": "value"}).assign(note=lambda c: c["size"].astype(str) + " cases")


def explain() -> None:
    """How to read the board."""
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            """
- A **pair** is one film and question that two models answer alike, from causes that are known to differ.
  **Follows** is the share of pairs in which a map is denser on the own cause than on the other's under both models; an
  answer that is the same for both scores 0. Where there are pairs, this is what ranks.
- The **95 % interval** is a bootstrap over patients. Entries that share a **tie letter** are not told apart by a
  paired, Holm-corrected test; read them as equal, whatever their rank.
- **Floors** look at no model. An entry whose interval reaches that of the best floor is listed apart, without a rank;
  the column *Not ranked because* says so.
- **IoU** compares the boxes of an entry's map with the expert's; a missing or invalid map scores 0. **At equal area**
  it knows no size: the hottest pixels, as many as the expert's region has.
- **Pointing**, **energy inside** and **average precision** need no threshold.
- The **paper's scorer** is kept beside ours so that published numbers can be compared; it does not rank.
- More columns are in the menu of the table, all of them in its download. Every choice is in the address of this page.
"""
        )
    with st.expander("How to cite", icon=":material/format_quote:"):
        cite.show()


BIND = "query-params"

story.question()
board = tables.board()
if board.empty:
    st.info("The board is empty. Run `dvc repro` to score the baselines.", icon=":material/inbox:")
else:
    board["name"] = board.entry.map(names.everybody())
    story.proof()
    left, right = st.columns([1, 1], gap="large")
    with left:
        story.leader(board[(board.track == "all") & (board.split == ("test" if "test" in set(board.split) else "all"))])
    with right:
        story.filtered()
    story.caution()
    st.header("The board")
    chosen, metric, view = choices(board)
    if chosen.empty:
        st.info("No entry fits these filters. Clear the search, or show more kinds.", icon=":material/filter_alt_off:")
    else:
        overall = board[board.split == chosen.split.iloc[0]]
        every = overall[overall.track == chosen.track.iloc[0]]
        if view == VIEWS[1]:
            heat(chosen, metric, every, overall)
        else:
            chart(chosen, metric, every)
            table(chosen, metric)
        about_one(every)
    explain()
