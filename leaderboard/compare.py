"""Compare: is one entry better than another, on what, and on which cases."""

from __future__ import annotations

from urllib.parse import quote

import numpy as np
import pandas as pd
import streamlit as st

from leaderboard import charts, tables
from leaderboard.tables import METRICS
from leaderboard.text import plain
from medground.hub.licences import Kind
from medground.ranking import paired_difference

AXES = ("finding", "model", "mode", "source")
LISTED = 20  # cases where two entries differ most


def choose(board: pd.DataFrame) -> tuple[str, str, str, str]:
    """Two entries, a split and a metric; at first the two that lead."""
    order = board[board.track == "all"].sort_values(["rank", "entry"]).entry.drop_duplicates().tolist()
    with st.container(horizontal=True):
        first = st.selectbox("First entry", order, key="compare_first")
        second = st.selectbox("Second entry", order, index=min(1, len(order) - 1), key="compare_second")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        split = st.segmented_control("Split", ["test", "dev", "all"], default="test", required=True)
        metric = st.selectbox("Metric", list(METRICS), format_func=METRICS.get)
    return first, second, split or "test", metric


def pair(first: str, second: str, split: str, metric: str) -> tuple[pd.DataFrame, int]:
    """The ranked cases of a split with both scores: columns a, b, difference beside those of the cases. And of how many
    cases a deployment that keeps their regions back has no single scores."""
    known = tables.cases()
    ranked = known[known.kept & (known.control == "honest") & (known.split.isin([split]) | (split == "all"))]
    scores = tables.scores((first, second)).pivot(index="case_id", columns="entry", values=metric)
    both = ranked.join(scores.reindex(columns=[first, second]).set_axis(["a", "b"], axis=1), on="case_id")
    back = both.split.map(tables.hidden).astype(bool) & both[["a", "b"]].isna().all(axis=1)
    both = both[~back]
    both[["a", "b"]] = both[["a", "b"]].fillna(0.0)  # a missing case scores the worst value
    return both.assign(difference=both.a - both.b), int(back.sum())


def difference(both: pd.DataFrame) -> dict:
    """The paired difference over some cases with its interval, as the board computes it."""
    p = tables.settings()
    patients = both.patient_id.to_numpy(str)
    found = _bootstrap(both.a.to_numpy(), both.b.to_numpy(), patients, p.rank.resamples, p.rank.level, p.seed)
    return {**found, "cases": len(both), "patients": both.patient_id.nunique()}


@st.cache_data(show_spinner="Comparing", max_entries=512)
def _bootstrap(a: np.ndarray, b: np.ndarray, patients: np.ndarray, resamples: int, level: float, seed: int) -> dict:
    return paired_difference(a, b, patients, resamples=resamples, level=level, seed=seed)


def verdict(found: dict, first: str, second: str, metric: str) -> None:
    """The overall difference in one sentence."""
    low, high = found["low"], found["high"]
    if low > 0 or high < 0:
        better, worse = (first, second) if low > 0 else (second, first)
        said = f"**{plain(better)}** leads {plain(worse)}"
    else:
        said = f"{plain(first)} and {plain(second)} **cannot be told apart**"
    left, right = st.columns([1, 3], vertical_alignment="center")
    with left:
        st.metric(f"Difference in {METRICS[metric]}", f"{found['difference']:+.3f}", border=True)
    with right:
        st.markdown(
            f"{said}: 95 % interval {low:+.3f} to {high:+.3f}, from a paired bootstrap over the "
            f"{found['patients']:,} patients of {found['cases']:,} cases. A single pair: not corrected for others."
        )


def parts(both: pd.DataFrame, first: str, second: str, metric: str) -> None:
    """The same, finding by finding (or model by model, ...)."""
    st.subheader("Where they differ")
    axis = st.segmented_control("By", AXES, default="finding", format_func=str.capitalize, required=True) or "finding"
    rows = [{"name": name, **difference(group)} for name, group in both.groupby(axis)]
    table = pd.DataFrame(rows).sort_values("difference", ascending=False)
    st.altair_chart(
        charts.differences(table, first, second, METRICS[metric]), alt=f"Paired differences by {axis}; table below"
    )
    with st.expander("The numbers"):
        shown = table.rename(columns={"name": axis}).drop(columns="p")
        st.dataframe(shown, hide_index=True, column_config=dict.fromkeys(("difference", "low", "high"), THREE))


def extremes(both: pd.DataFrame, first: str, second: str) -> None:
    """The cases where the two differ most, with a way to look at them."""
    st.subheader("Cases where they differ most")
    open_ = [not tables.hidden(row.split) and tables.may_show(row.source, Kind.TEXT) for row in both.itertuples()]
    both = both[open_]
    if both.empty:
        st.info("Scores of single cases would help to tune to regions that are kept back.", icon=":material/lock:")
        return
    worst = both.reindex(both.difference.abs().sort_values(ascending=False, kind="stable").index).head(LISTED)
    table = pd.DataFrame(
        {
            "Case": [f"/cases?case={quote(name)}&entries={quote(first)},{quote(second)}" for name in worst.case_id],
            "Finding": worst.finding,
            first: worst.a,
            second: worst.b,
            "Difference": worst.difference,
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "Case": st.column_config.LinkColumn(display_text=r"case=([^&]*)", width=290),
            **dict.fromkeys((first, second, "Difference"), THREE),
        },
        alt="Cases where the two entries differ most",
    )


THREE = st.column_config.NumberColumn(format="%.3f")

st.title("Compare")
board = tables.board()
if board.entry.nunique() < 2:
    st.info("It takes two entries to compare. Run `dvc repro` to score the baselines.", icon=":material/inbox:")
else:
    first, second, split, metric = choose(board)
    if first == second:
        st.info("Choose two different entries.", icon=":material/compare_arrows:")
    else:
        both, back = pair(first, second, split, metric)
        if both.empty and back:
            st.info(
                f"The scores of the {back:,} single cases of this split are kept back here: from many of them a region "
                "follows. The board has their means. Choose the split dev to compare case by case.",
                icon=":material/lock:",
            )
        elif both.empty:
            st.info("No ranked case is in this split.", icon=":material/inbox:")
        else:
            if back:
                st.caption(f"{back:,} cases of the split test are left out: their single scores are kept back here.")
            verdict(difference(both), first, second, metric)
            parts(both, first, second, metric)
            extremes(both, first, second)
