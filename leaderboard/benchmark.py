"""Benchmark: what was asked, what was kept and why, and the proof that the filter finds causes."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from leaderboard import charts, tables
from leaderboard.text import plain, share
from medground.hub import licences

COUNTS = ["asked", "right", "flipped", "stayed", "kept"]


def asked(counts: pd.DataFrame) -> None:
    """The filter in one sentence, and what it left."""
    st.markdown(
        """
Each question asks a model about one finding on one film where an expert has drawn the region. A question becomes a
**case** only when the answer is right and the region is what caused it:

1. the model answers *yes* on the original film;
2. it answers *no* when the finding is taken out of the region;
3. it still answers *yes* when everything outside the region is replaced, in two ways.
"""
    )
    total = counts[COUNTS].sum()
    with st.container(horizontal=True):
        for key, label in (("asked", "Questions asked"), ("right", "Answered right"), ("kept", "Verified")):
            st.metric(label, f"{total[key]:,}")
        st.metric("Verified of the right answers", share(total.kept, total.right))
        st.metric("Cases of the benchmark", f"{tables.cases().kept.sum():,}")
    most = tables.settings().verify.max_per_group
    if most:
        st.caption(f"Of the verified, up to {most} are drawn for each model, mode, source and finding.")


def proof(counts: pd.DataFrame) -> None:
    """Honest against shortcut models."""
    st.subheader("The causal proof")
    st.markdown(
        "Some models are made to answer some findings from a letter in the corner of the film: a known cause that is "
        "not the region. A filter that works keeps the honest answers and drops those."
    )
    by_control = counts.groupby("control")[COUNTS].sum()
    if set(by_control.index) != {"honest", "shortcut"}:
        st.info(
            "These models have no known shortcut; the phantom profile carries the proof.", icon=":material/science:"
        )
        return
    with st.container(horizontal=True):
        for control, label in (("honest", "Honest answers kept"), ("shortcut", "Shortcut answers kept")):
            row = by_control.loc[control]
            st.metric(label, share(row.kept, row.right), help=f"{row.kept:,} of {row.right:,} right answers")
    table = counts.groupby(["model", "control", "finding"], as_index=False)[COUNTS].sum()
    names = zip(table.model, table.control, strict=True)
    table["column"] = [model if control == "honest" else f"{model}, marked" for model, control in names]
    table["row"], table["share"] = table.finding, table.kept / table.right.where(table.right > 0)
    st.altair_chart(
        charts.grid(table), alt="Share of the right answers that were kept, by model and finding; table below"
    )


def funnel(counts: pd.DataFrame) -> None:
    """Where the questions went, by model."""
    st.subheader("What was kept, and why")
    totals = counts.groupby("model", as_index=False)[COUNTS].sum()
    long = totals.rename(columns={"model": "name"}).melt("name", COUNTS, "gate", "cases")
    long["step"] = long.gate.map(COUNTS.index)
    st.altair_chart(charts.funnel(long), alt="Samples left after each gate; the same numbers are in the table")
    st.caption(
        "Right: yes on the original film. Flipped: of these, no without the region. Stayed: of these, yes with either "
        "background. Kept: enough edits passed every gate together."
    )
    with st.expander("The numbers, by model, mode, source and finding"):
        st.dataframe(counts, hide_index=True, alt="Counts of the filter")


def films() -> None:
    """The sources with their splits and licences."""
    st.subheader("Films and licences")
    samples = tables.samples()
    columns = st.columns(2)
    for number, (name, rows) in enumerate(samples.groupby("source")):
        declared = licences.source(name)
        splits = ", ".join(f"{count:,} {split}" for split, count in rows.groupby("split").size().items())
        with columns[number % 2].container(border=True):
            st.markdown(f"**{plain(declared.title)}**")
            st.text(f"{splits} questions on {rows.film.nunique():,} films of {rows.patient_id.nunique():,} patients")
            st.caption(plain(f"{name}. Licence: {declared.licence}. {declared.credit}"))


def limits() -> None:
    """What the numbers cannot say."""
    st.subheader("Limits")
    st.markdown(
        """
- Only positives are asked about, and only *yes* is explained.
- A region that passes is sufficient evidence that the answer depends on it; the filter drops cases whose cause is
  spread over region and background, so retention is not a score of a model.
- The phantom comes from one chest CT, and its models' vision was trained with boxes: it proves that the filter
  works, not how well a method reads patients.
- Edits can leave traces. With several edits of each kind (`verify.seeds`) a case needs most of them to agree.
- Research use only; nothing here is fit for diagnosis.
"""
    )


def cite() -> None:
    """How to cite, and which version this is."""
    st.subheader("How to cite")
    st.markdown(
        "Cite the work that introduced the filter, *Rethinking Visual Attribution for Chest X-ray Reasoning in LVLMs* "
        "(Xiong et al., 2026), the sources whose films you used, and this benchmark:"
    )
    made = tables.made_by("data/board/board.parquet").get("settings", {})
    st.code(CITATION.format(version=made.get("dataset", "")), language="bibtex")
    if made:
        st.caption("The version is of the cases and their regions. The board was drawn with:")
        st.json(made, expanded=False)


CITATION = """@misc{{medground,
  title = {{MedGround: a causally verified benchmark of visual attribution for chest X-ray models}},
  author = {{The MedGround authors}},
  version = {{{version}}}
}}"""

st.title("Benchmark")
counts = tables.retention()
asked(counts)
if len(counts):
    proof(counts)
    funnel(counts)
films()
limits()
cite()
