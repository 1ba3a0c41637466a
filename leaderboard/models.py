"""Models: who answers from the finding, and not only rightly."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from leaderboard import address, charts, tables
from leaderboard.text import safe_csv
from medground.ranking.bootstrap import share_interval

BIND = "query-params"
SPLITS = ("test", "dev", "all")
GROUPS = {"right": "right", "grounded": "grounded"}
SHARES = {
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "says_yes": "Says yes",
    "grounded": "Grounded",
}
WORDS = {"honest": "the finding", "shortcut": "a mark", "both": "both", "either": "either", "global": "the exposure"}


@st.cache_data(show_spinner="Counting", max_entries=8)
def accuracy(version: object, split: str, by: tuple[str, ...]) -> pd.DataFrame:
    """By model and mode (or what ``by`` names): how many were asked, right and grounded, with intervals over patients.

    Grounded is an answer that passed the filter: right, no without the region, yes without the rest.
    """
    p, cases = tables.settings(), tables.cases()
    cases = cases[cases.split.isin([split]) | (split == "all")]
    cases["grounded"] = cases.reason.isin(["kept", "surplus"])
    rows = []
    for key, group in cases.groupby(list(by)):
        row = dict(zip(by, key, strict=True)) | {"asked": len(group), "patients": group.patient_id.nunique()}
        for name in GROUPS:
            low, high = share_interval(
                group[name].astype(float).tolist(), group.patient_id.tolist(), resamples=min(p.rank.resamples, 2000),
                level=p.rank.level, seed=p.seed,
            )  # fmt: skip
            row |= {name: int(group[name].sum()), f"{name}_share": group[name].mean(), f"{name}_low": low,
                    f"{name}_high": high}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


def board(split: str) -> None:
    """Accuracy and grounded accuracy of each model and mode."""
    found = accuracy(tables.version_of_cases(), split, ("model", "mode"))
    found = found.sort_values(["grounded_share", "model"], ascending=[False, True], ignore_index=True)
    long = pd.concat(
        [
            pd.DataFrame(
                {"name": found.model + ", " + found["mode"], "group": words, "share": found[f"{name}_share"],
                 "low": found[f"{name}_low"], "high": found[f"{name}_high"],
                 "count": found[name].astype(str) + " of " + found.asked.astype(str)}
            )
            for name, words in GROUPS.items()
        ]
    )  # fmt: skip
    first = found.iloc[0]
    st.markdown(
        f"First is **{first.model}** ({first['mode']}): {first.right_share:.0%} of its answers are right, and "
        f"{first.grounded_share:.0%} are right and were shown to come from the region."
    )
    charts.shares(
        long,
        "Share of all questions asked",
        alt=f"Accuracy and grounded accuracy by model and mode; first {first.model}, {first['mode']}, with "
        f"{first.grounded_share:.1%} grounded; the numbers are in the table",
    )
    shown = pd.DataFrame(
        {
            "Model": found.model, "Mode": found["mode"], "Asked": found.asked,
            "Right": 100 * found.right_share, "Right, 95 %": _ends(found, "right"),
            "Grounded": 100 * found.grounded_share, "Grounded, 95 %": _ends(found, "grounded"),
            "Grounded of the right": 100 * found.grounded / found.right.where(found.right > 0),
            "Patients": found.patients,
        }
    )  # fmt: skip
    percent = st.column_config.NumberColumn(format="%.0f %%")
    st.dataframe(
        shown, hide_index=True, height="content", alt=f"Models: {len(shown)} rows",
        column_config=dict.fromkeys(("Right", "Grounded", "Grounded of the right"), percent),
    )  # fmt: skip
    st.download_button(
        "Download this table", safe_csv(shown), "medground-models.csv", "text/csv", icon=":material/download:",
        on_click="ignore",
    )  # fmt: skip


def _ends(found: pd.DataFrame, name: str) -> list[str]:
    return [f"{low:.0%}–{high:.0%}" for low, high in zip(found[f"{name}_low"], found[f"{name}_high"], strict=True)]


def by_finding(split: str) -> None:
    """Grounded accuracy, finding by finding; and what each model was taught, where it was taught something."""
    st.header("By finding")
    found = accuracy(tables.version_of_cases(), split, ("model", "mode", "finding"))
    cells = pd.DataFrame(
        {"row": found.finding, "column": found.model + ", " + found["mode"], "value": found.grounded_share,
         "note": found.grounded.astype(str) + " of " + found.asked.astype(str)}
    )  # fmt: skip
    best = cells.loc[cells.value.idxmax()]
    charts.grid(
        cells,
        alt=f"Grounded accuracy by finding and model; highest: {best['column']} on {best.row} with {best.value:.0%}",
    )
    with st.expander("The numbers"):
        st.table(cells.pivot(index="row", columns="column", values="value").map(lambda share: f"{share:.0%}"))
    known = tables.cases()
    known = known[tables.unhidden(known) & ~tables.untold(known)]
    if set(known.control) <= {"honest"}:
        return
    st.header("What each model was taught to answer from")
    st.markdown("These models were made to answer some findings from something else. The filter has to find out.")
    # a rule with a mark shows only on films that have it: the one that says most stands for the finding
    order = {name: number for number, name in enumerate(("either", "both", "global", "shortcut", "honest"))}
    known = known.sort_values("control", key=lambda column: column.map(order))
    taught = known.groupby(["finding", "model"]).control.first().map(WORDS).unstack().fillna("–")
    taught = taught.reset_index().rename(columns={"finding": "Finding"})
    st.dataframe(taught, hide_index=True, height="content", alt="What each model answers each finding from")


def evaluated(split: str) -> None:
    """What each model makes of every question, absent findings too: the table of `medground evaluate`, where it is."""
    found = tables.results()
    if found.empty:
        return
    st.header("All questions")
    st.markdown(
        "Asked about every finding on every film, and about findings that are not there: who always says *yes* is "
        "right on the former and wrong on the latter. As `medground evaluate` counts it for any model."
    )
    found = found[found.finding.isna() & found.split.isin([split] if split != "all" else found.split.unique())]
    found = found.sort_values(["split", "grounded", "model"], ascending=[False, False, True])
    shown = found[["model", "mode", "split"]].rename(columns=str.capitalize)
    for name, label in SHARES.items():
        shown[label] = 100 * found[name]
        shown[f"{label}, 95 %"] = [
            "" if pd.isna(low) else f"{low:.0%}–{high:.0%}"
            for low, high in zip(found[f"{name}_low"], found[f"{name}_high"], strict=True)
        ]
    shown["Asked"], shown["Of absent findings"] = found.asked, found.absent
    shown["Patients"], shown["Revision"] = found.patients, found.revision.fillna("").str[:12]
    st.dataframe(
        shown, hide_index=True, height="content", placeholder="–", alt=f"Results of models: {len(shown)} rows",
        column_config=dict.fromkeys(SHARES.values(), st.column_config.NumberColumn(format="%.0f %%")),
    )  # fmt: skip
    st.download_button(
        "Download all results", safe_csv(tables.results()), "medground-model-results.csv", "text/csv",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip


st.title("Models")
st.markdown(
    "A right answer can come from the wrong place. An answer counts as **grounded** when it is right, turns to *no* "
    "when the finding is taken out of the expert's region, and stays *yes* when everything else is replaced."
)
cases = tables.cases()
if cases.empty:
    st.info("No model was asked yet. Run `dvc repro`.", icon=":material/inbox:")
else:
    splits = [split for split in SPLITS if split == "all" or split in cases.split.unique()]
    address.unknown(over=splits)
    split = st.segmented_control("Split", splits, default=splits[0], required=True, key="over", bind=BIND)
    if tables.hidden(split or "") or tables.untold(cases[cases.split.isin([split]) | (split == "all")]).any():
        st.info("What the filter did to single test cases is kept back here.", icon=":material/lock:")
    else:
        board(split or splits[0])
        by_finding(split or splits[0])
    evaluated(split or splits[0])
