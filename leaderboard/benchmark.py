"""Benchmark: what was asked, what was kept and why, and the proof that the filter finds causes."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from leaderboard import charts, cite, story, tables
from leaderboard.text import plain, share
from medground import submission
from medground.errors import MedgroundError
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
    """Answers from the finding against answers from something else."""
    st.header("The causal proof")
    found = tables.by_control()
    if set(found) <= {"honest"}:
        st.info("What these models answer from is not known; the phantom profiles carry the proof.",
                icon=":material/science:")  # fmt: skip
        return
    st.markdown(
        "These models were made to answer some findings from something else: a letter in the corner, a drain, the "
        "exposure of the whole film. A filter that works keeps the answers that come from the finding, and no other."
    )
    with st.container(horizontal=True):
        for control, one in found.items():
            st.metric(story.CONTROLS[control].capitalize(), share(one["kept"], one["right"]),
                      help=f"{one['kept']:,} of {one['right']:,} right answers kept")  # fmt: skip
    story.filtered()
    told = counts[~tables.untold(counts)]  # by finding; on the test split of a Space it is of all together
    table = told.groupby(["model", "control", "finding"], as_index=False)[COUNTS].sum()
    mark = {"honest": ""} | {name: f" ({name})" for name in story.CONTROLS if name != "honest"}
    table["column"] = table.model
    table["row"] = table.finding + table.control.map(mark)
    table["value"] = table.kept / table.right.where(table.right > 0)
    table["note"] = table.kept.astype(str) + " of " + table.right.astype(str)
    table = table.sort_values(["row", "column"])
    st.caption("Drawn for the benchmark, of the right answers, by what each model was taught to answer from:")
    if len(told) < len(counts):
        st.caption("Those to the split dev: of the test split this is kept back.")
    charts.grid(
        table[["row", "column", "value", "note"]],
        alt="Share of the right answers that are in the benchmark, by model and finding; the numbers are further below",
    )


def funnel(counts: pd.DataFrame) -> None:
    """Where the questions went, by model."""
    st.header("What was kept, and why")
    totals = counts.groupby("model", as_index=False)[COUNTS].sum()
    long = totals.rename(columns={"model": "name"}).melt("name", COUNTS, "gate", "cases")
    long["step"] = long.gate.map(COUNTS.index)
    charts.funnel(long, alt="Samples left after each gate; the same numbers are in the table")
    st.caption(
        "Right: yes on the original film. Flipped: of these, no without the region. Stayed: of these, yes with either "
        "background. Kept: enough edits passed every gate together."
    )
    with st.expander("The numbers, by model, mode, source and finding"):
        st.dataframe(counts, hide_index=True, alt="Counts of the filter")


def films() -> None:
    """The sources with their splits and licences."""
    st.header("Films and licences")
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
    st.header("Limits")
    st.markdown(
        """
- Only *yes* is explained, about findings that are there. The page Models asks about absent ones, too.
- A region that passes is sufficient evidence that the answer depends on it; the filter drops cases whose cause is
  spread over region and background, so retention is not a score of a model.
- The phantom comes from one chest CT, and its models' vision was trained with boxes: it proves that the filter
  works, not how well a method reads patients.
- Edits can leave traces. With several edits of each kind (`verify.seeds`) a case needs most of them to agree.
- Research use only; nothing here is fit for diagnosis.
"""
    )


def history() -> None:
    """What became of the board: entries as they came, and the versions of its tables."""
    st.header("History")
    try:
        known = submission.receipts(tables.root() / "submissions")
    except MedgroundError as error:  # one that is damaged
        st.warning(plain(error), icon=":material/error:")
        known = []
    rows = [
        {"Date": one.received[:10], "Entry": one.id, "What": one.status} for one in known if one.status == "accepted"
    ]
    rows += [{"Date": one["date"], "Entry": "", "What": one["what"]} for one in tables.versions()]
    if not rows:
        st.caption("Nothing is recorded here: no entry was submitted, and this place does not keep versions.")
        return
    table = pd.DataFrame(rows).sort_values("Date", ascending=False, kind="stable")
    st.dataframe(table, hide_index=True, alt=f"History of the board: {len(table)} rows, the latest first")


st.title("Benchmark")
counts = tables.retention()
asked(counts)
if len(counts):
    proof(counts)
    funnel(counts)
films()
limits()
history()
st.header("How to cite")
cite.show()
