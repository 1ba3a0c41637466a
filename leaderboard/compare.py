"""Compare: is one entry better than another, on what, and on which cases."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from leaderboard import address, charts, names, tables
from leaderboard.tables import ON_BOARD
from leaderboard.text import plain
from medground.hub.data import WITHHELD
from medground.hub.licences import Kind
from medground.ranking import Results, lead
from medground.scoring import METRICS

AXES = ("finding", "model", "mode", "source")
SPLITS = ("test", "dev", "all")
LISTED = 20  # cases where two entries differ most
BIND = "query-params"


def choose(board: pd.DataFrame) -> tuple[str, str, str, str]:
    """Two entries, a split and a metric; at first the two that lead on the split, in what ranks there."""
    called = names.everybody()
    splits = [split for split in SPLITS if split in board.split.unique()]
    measured = {ON_BOARD[name]: name for name in ON_BOARD if name in board and board[name].notna().any()}
    address.unknown(first=called.values(), second=called.values(), on=splits, metric=measured)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.segmented_control("Split", splits, default=splits[0], required=True, key="on", bind=BIND)
        here = board[(board.track == "all") & (board.split == (split or splits[0]))]
        leading = next(label for label, name in measured.items() if name == here.order.iloc[0])
        metric = st.selectbox("Metric", list(measured), list(measured).index(leading), key="metric", bind=BIND)
    order = [called[entry] for entry in tables.in_order(split or splits[0])]
    with st.container(horizontal=True):
        first = st.selectbox("First entry", order, key="first", bind=BIND)
        second = st.selectbox("Second entry", order, index=min(1, len(order) - 1), key="second", bind=BIND)
    by_name = {name: entry for entry, name in called.items()}
    return by_name[first], by_name[second], split or splits[0], measured[metric]


@st.cache_data(show_spinner="Comparing", max_entries=256)
def leads(version: object, first: str, second: str, split: str, metric: str) -> tuple[dict[str, dict], int]:
    """By track, the paired difference of two entries as the board computes it, where the track has the metric: its
    ends, means, ``units`` (cases or pairs) and ``patients``. And how many cases are left out because a deployment that
    keeps regions back has no single scores of them."""
    scores, cases = tables.score_table((first, second)), tables.kept()
    scored = set(scores["case_id"].to_pylist())
    told = [case for case in cases if case["control"] != WITHHELD]
    hidden = {split for split in SPLITS if tables.hidden(split)}
    open_ = [case for case in told if case["split"] not in hidden or case["case_id"] in scored]
    back = sum(split in ("all", case["split"]) for case in cases) - sum(split in ("all", c["split"]) for c in open_)
    found: dict[str, dict] = {}
    if not open_:
        return found, back
    results = Results.of(scores, open_)
    for track, chosen in results.tracks():
        units = next((u for u in results.units(chosen & results.split(split)) if metric in u.names), None)
        if units is None or first not in results.entries or second not in results.entries:
            continue
        (row,) = lead(results, first, track, split, metric=metric, **tables.resampling())
        of = dict(zip(results.entries, units.of(metric).mean(1), strict=True))
        counts = {"units": len(units.patients), "patients": len(set(units.patients))}
        found[track] = {**row, **counts, "first": of[first], "second": of[second]}
    return found, back


def verdict(found: dict, first: str, second: str, metric: str) -> None:
    """The overall difference in one sentence."""
    low, high = found["low"], found["high"]
    if not METRICS[metric].higher_is_better:
        first, second, low, high = second, first, -high, -low
    if low > 0 or high < 0:
        better, worse = (first, second) if low > 0 else (second, first)
        said = f"**{plain(better)}** leads {plain(worse)}"
    else:
        said = f"{plain(first)} and {plain(second)} **cannot be told apart**"
    what = "pairs" if metric == "follows" else "cases"
    left, right = st.columns([1, 3], vertical_alignment="center")
    with left:
        st.metric(f"Difference in {ON_BOARD[metric]}", f"{found['difference']:+.3f}", border=True)
    with right:
        st.markdown(
            f"{said}: {found['first']:.3f} and {found['second']:.3f}, 95 % interval of the difference "
            f"{found['low']:+.3f} to {found['high']:+.3f}, from a paired bootstrap over the {found['patients']:,} "
            f"patients of {found['units']:,} {what}. A single pair: not corrected for others."
        )


def parts(found: dict[str, dict], first: str, second: str, metric: str) -> None:
    """The same, finding by finding (or model by model, ...)."""
    st.header("Where they differ")
    axis = st.segmented_control(
        "By", AXES, default="finding", format_func=str.capitalize, required=True, key="along", bind=BIND
    )
    rows = [{"name": name.partition("=")[2], **one} for name, one in found.items() if name.startswith(f"{axis}=")]
    if not rows:
        st.info("Nothing is measured here by part.", icon=":material/inbox:")
        return
    table = pd.DataFrame(rows).sort_values("difference", ascending=False)
    top = table.iloc[0]
    charts.differences(
        table,
        first,
        second,
        ON_BOARD[metric],
        alt=f"Paired differences by {axis}; {top['name']} on top with {top.difference:+.3f}; the numbers are below",
    )
    with st.expander("The numbers"):
        shown = table[["name", "first", "second", "difference", "low", "high", "units", "patients"]]
        shown.columns = [axis, first, second, "difference", "low", "high", "units", "patients"]
        st.table(shown.round(3), hide_index=True)


def extremes(first: str, second: str, split: str, metric: str) -> None:
    """The cases where the two differ most, with a way to look at them."""
    st.header("Cases where they differ most")
    known, called = tables.cases().set_index("case_id"), names.everybody()
    told = [source for source in known.source.unique() if tables.may_show(source, Kind.TEXT)]
    known = known[known.split.isin([split]) | (split == "all")]
    known = known[tables.unhidden(known) & ~tables.untold(known) & known.source.isin(told)]
    both = tables.metric_by_case(metric, (first, second), known.index)
    both = both.dropna(how="all").fillna(METRICS[metric].worst)
    if both.empty:
        st.info("Scores of single cases would help to tune to regions that are kept back.", icon=":material/lock:")
        return
    both["difference"] = both[first] - both[second]
    apart = both[both.difference != 0]
    if apart.empty:
        st.info(f"They have the same {ON_BOARD[metric].lower()} on every case.", icon=":material/balance:")
        return
    worst = apart.reindex(apart.difference.abs().sort_values(ascending=False, kind="stable").index).head(LISTED)
    maps = [called[first], called[second]]
    rows = [
        [(str(name), address.to("cases", {"case": str(name), "maps": maps})), known.finding[name],
         f"{row[first]:.3f}", f"{row[second]:.3f}", f"{row.difference:+.3f}"]
        for name, row in worst.iterrows()
    ]  # fmt: skip
    address.table(["Case", "Finding", *maps, "Difference"], rows)


st.title("Compare")
board = tables.board()
if board.entry.nunique() < 2:
    st.info("It takes two entries to compare. Run `dvc repro` to score the baselines.", icon=":material/inbox:")
else:
    first, second, split, metric = choose(board)
    called = names.everybody()
    if first == second:
        st.info("Choose two different entries.", icon=":material/compare_arrows:")
    else:
        found, back = leads((tables.version_of_board(), tables.version_of_cases()), first, second, split, metric)
        if "all" not in found and back:
            st.info(
                f"The scores of the {back:,} single cases of this split are kept back here: from many of them a "
                "region, or what an answer depends on, follows. The board has their means. Choose the split dev to "
                "compare case by case.",
                icon=":material/lock:",
            )
        elif "all" not in found:
            st.info("Nothing is measured for both of them on this split.", icon=":material/inbox:")
        else:
            if back:
                st.caption(f"{back:,} cases of the split test are left out: their single scores are kept back here.")
            verdict(found["all"], called[first], called[second], metric)
            parts(found, called[first], called[second], metric)
            extremes(first, second, split, metric)
