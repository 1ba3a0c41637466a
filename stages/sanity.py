"""Does what each entry says depend on the model, the question and not on noise: data/sanity/.

``sanity.parquet`` has a row for each entry, check and case; ``sanity.json`` what each check of each entry says.
The maps after a change are made for a few dev cases of each model and every method that asks the model; the check
``question`` takes the entries' own maps of all cases, submissions included, and costs nothing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medground import engine, files, params, records
from medground.attribution import by_entry
from medground.attribution.items import Items
from medground.attribution.sanity import SanityTask
from medground.cases import localised
from medground.lvlm import checkpoints
from medground.ranking.bootstrap import interval, resample_patients
from medground.scoring.entries import Entry, method_entry
from medground.scoring.sanity import MOVES, STAYS, hottest, nulls, overlap, same_films, verdict
from medground.scoring.tables import load_cases, read_attributions
from medground.submission import accepted


@engine.stage
def main() -> None:
    p = params.load()
    out = Path("data/sanity")
    cases = load_cases("data")
    floors = {name for name in p.methods if by_entry(name).group == "floor"}
    entries = [method_entry(name, p.models, Path("data/attributions"), floors) for name in p.methods]
    chosen = few(cases, p.sanity.cases)
    layers = sorted({1, p.sanity.layers}) if p.sanity.layers else []
    changed = {model: again(p, model, chosen, [*(f"decoder:{n}" for n in layers), "noise"]) for model in p.models}
    rows = []
    for entry in [*entries, *accepted(Path("submissions"), cases)]:
        tables = {
            change: [table for of_model in changed.values() for (one, name), table in of_model.items()
                     if (one, name) == (change, entry.name)]
            for change in [*(f"decoder:{n}" for n in layers), "noise"]
        }  # fmt: skip
        rows += measured(entry, cases, tables)
    records.write_table(rows, records.SANITY, out / "sanity.parquet")
    said = verdicts(rows, cases, p.rank.level, p.rank.resamples, p.seed)
    files.write_json(said, out / "sanity.json")
    for name, checks in said.items():
        told = ", ".join(f"{check} {one['similarity']:.2f} (null {one['null']:.2f}) "
                         f"{'pass' if one['passes'] else 'FAIL'}" for check, one in checks.items())  # fmt: skip
        print(f"{name:24} {told}")


def few(cases: list[dict], most: int) -> dict[str, list[dict]]:
    """At most ``most`` dev cases of each model, direct ones that the filter kept, of as many findings as there are."""
    found: dict[str, list[dict]] = {}
    for case in sorted(cases, key=lambda case: case["case_id"]):
        if case["split"] == "dev" and case["mode"] == "direct" and localised(case):
            found.setdefault(case["model"], []).append(case)
    return {model: spread(of_model, most) for model, of_model in found.items()}


def spread(cases: list[dict], most: int) -> list[dict]:
    """The first of each finding, then the second of each, and so on."""
    turns: dict[str, int] = {}
    order = []
    for case in cases:
        turns[case["finding"]] = turns.get(case["finding"], 0) + 1
        order.append((turns[case["finding"]], case["finding"], case["case_id"], case))
    return [case for *_, case in sorted(order, key=lambda one: one[:3])][:most]


def again(p: params.Params, model: str, chosen: dict[str, list[dict]], changes: list[str]) -> dict[tuple, Path]:
    """The tables of what each method that asks the model says of its cases after each change, made where due."""
    asked = [by_entry(name).configured(p) for name in p.methods]
    asked = [one for one in asked if "model" in one.needs and chosen.get(model)]
    methods = {one.entry: (one, Items.of(one)) for one in asked}
    tables, found = [], {}
    for change in changes:
        for name, (one, items) in methods.items():
            stored = Path(f".progress/sanity/{model}/{change.replace(':', '-')}/{name}.parquet")
            weights = [checkpoints.revision(where) for where in (model, *one.checkpoints)]
            code = ("medground.attribution.sanity", one.function.__module__)
            about = engine.about(
                p, items.tables, code, change=change, method=name, method_settings=dict(one.settings), weights=weights,
                canvas=vars(p.canvas),
            )  # fmt: skip
            jobs = [(change, name, case) for case in chosen[model]]
            tables.append(engine.Table(stored, jobs, _case_id, records.ATTRIBUTIONS, **about))
            found[change, name] = stored
    task = SanityTask(model, methods, p.seed, p.canvas.most_pixels)
    engine.map_tables(task, tables, **engine.where(p))
    return found


def measured(entry: Entry, cases: list[dict], tables: dict[str, list[Path]]) -> list[dict]:
    """Rows of `records.SANITY` of an entry: its own maps against those after each change, and against each other."""
    sizes = {case["case_id"]: (case["width"], case["height"]) for case in cases}
    known = (row for row in entry.attributions() if row["case_id"] in sizes)
    masks = {row["case_id"]: hottest(row, *sizes[row["case_id"]]) for row in known}
    null = nulls(cases, masks)
    rows = [
        (first["case_id"], "question", overlap(masks.get(first["case_id"]), masks.get(second["case_id"])))
        for first, second in same_films(cases)
    ]
    for change, paths in tables.items():
        for path in paths:
            for row in read_attributions(path):
                name = row["case_id"]
                rows.append((name, change, overlap(masks.get(name), hottest(row, *sizes[name]))))
    return [
        {"entry": entry.name, "case_id": name, "check": check, "similarity": value, "null": null[name]}
        for name, check, value in rows
        if name in null
    ]


def verdicts(rows: list[dict], cases: list[dict], level: float, resamples: int, seed: int) -> dict[str, dict]:
    """``{entry: {check: {similarity, null, low, high, cases, passes}}}``: means over cases, and the interval over
    patients of similarity less null. Every depth of the decoder must pass; the first that fails is shown."""
    patients = {case["case_id"]: case["patient_id"] for case in cases}
    found: dict[str, dict] = {}
    frame = pd.DataFrame(rows, columns=records.SANITY.names)
    for key, part in frame.groupby(["entry", "check"], sort=True):
        entry, change = map(str, key)
        check = change.partition(":")[0]
        less = (part.similarity - part.null).to_numpy()[None]
        means, count = resample_patients(less, [patients[name] for name in part.case_id], resamples,
                                         np.random.default_rng(seed))  # fmt: skip
        low, high = (float(end[0]) for end in interval(means, count, level)) if count > 1 else (-1.0, 1.0)
        numbers = float(part.similarity.mean()), float(part.null.mean())
        one = {
            "similarity": round(numbers[0], 4),
            "null": round(numbers[1], 4),
            "low": round(low, 4),
            "high": round(high, 4),
            "cases": len(part),
            "passes": verdict(check, low, *numbers),
        }
        before = found.setdefault(entry, {}).get(check)
        if before is None or (before["passes"] and not one["passes"]):
            found[entry][check] = one
    checks = (*MOVES, *STAYS)
    return {entry: {check: of[check] for check in checks if check in of} for entry, of in found.items()}


def _case_id(job: tuple[str, str, dict]) -> str:
    return job[2]["case_id"]


if __name__ == "__main__":
    main()
