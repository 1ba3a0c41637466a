"""The three-step filter over all answers: data/cases/ (cases, retention, and the paper's JSON files)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import binomtest

from medground import engine, files, params, records
from medground.charts import intervals
from medground.lvlm.prompts import MODES
from medground.ranking.bootstrap import Resampling, share_interval
from medground.verification import causes
from medground.verification.gates import released_records, retention, surplus, verify

#: Columns of the samples and of the cases that are looked at one row after another.
SAMPLE = ("source", "index", "patient_id", "split", "finding", "question", "answer", "regions", "twin", "parts")
COUNTED = ("model", "mode", "source", "index", "patient_id", "finding", "control", "right", "flipped", "stayed_removed",
           "stayed_normal", "kept", "reason", "cause", "verified")  # fmt: skip


@engine.stage
def main() -> None:
    p = params.load()
    out = Path("data/cases")
    tables = (f"data/samples/{source}/samples.parquet" for source in p.sources)
    samples = [sample for table in tables for sample in records.iter_rows(table, records.SAMPLES, SAMPLE)]
    taught = {model: causes.controls(model) for model in p.models}
    how_many = {"seeds": p.verify.seeds, "agreement": p.verify.agreement}
    cases = records.gather(verify(samples, _answers(p.models), taught, **how_many), records.CASES)
    rows = retention(records.rows_of(cases, COUNTED))
    how: Resampling = {"level": p.rank.level, "resamples": p.rank.resamples, "seed": p.seed}
    regions = {(sample["source"], sample["index"]): sample["regions"] for sample in samples}
    kinds = causes.by_control(records.rows_of(cases, COUNTED), partial(share_interval, **how), regions)
    cases = drawn(cases, p)
    made_from = {"seed": p.seed, "settings": {"verify": vars(p.verify)}}
    records.write_table(cases, records.CASES, out / "cases.parquet", **made_from)
    files.write_json(rows, out / "retention.json")
    for mode in MODES:
        held = records.rows_of(cases.filter(cases["kept"]))
        files.write_json(released_records(held, _answers(p.models), mode), out / f"{mode}.json")
    counts = pd.DataFrame(rows)
    summary = counts.groupby(["control", "model", "mode"])[["asked", "right", "flipped", "stayed", "kept"]].sum()
    summary["kept_of_right"] = (summary["kept"] / summary["right"].clip(lower=1)).round(3)
    groups = {tuple(key): row for key, row in zip(summary.index, summary.to_dict("records"), strict=True)}
    shares = [(", ".join(key), *_share(row["kept"], row["right"])) for key, row in groups.items()]
    title = "Of the right answers, the share that the filter kept"
    files.write(intervals(shares, title, "share, with its 95 % Wilson interval"), out / "retention.svg")
    kept = {control: row["kept_of_right"] for control, row in kinds.items()}
    by_row = {"/".join(key): row for key, row in groups.items()}
    files.write_json({"by_control": kinds, "kept_of_right": kept, **by_row}, out / "filter.json")
    print(summary.to_string(), f"\nkept of the right answers: {kept}")
    print(f"{pc.sum(cases['kept'])} of {counts['kept'].sum()} verified cases drawn for the benchmark")
    known, verified = (sum(row[name] for row in kinds.values()) for name in ("known", "verified"))
    print(f"{pc.count_distinct(cases['pair'])} pairs; causes verified in {verified} of {known} right answers whose "
          "parts are known")  # fmt: skip


def drawn(cases: pa.Table, p: params.Params) -> pa.Table:
    """The same cases with the names of pairs; those beyond ``verify.max_per_group`` are kept no more."""
    families = {model: causes.family(model) for model in p.models}
    named = causes.pairs(records.rows_of(cases.filter(pc.fill_null(cases["verified"], False))), families,
                         p.verify.pairs, p.seed)  # fmt: skip
    cases = _with(cases, "pair", pa.array([named.get(name.as_py()) for name in cases["case_id"]], pa.string()))
    beyond = surplus(records.rows_of(cases.filter(cases["kept"])), p.verify.max_per_group, p.seed)
    goes = pc.is_in(cases["case_id"], pa.array(sorted(beyond), pa.string()))
    cases = _with(cases, "kept", pc.and_not(cases["kept"], goes))
    return _with(cases, "reason", pc.if_else(goes, "surplus", cases["reason"]))


def _with(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)


def _answers(models: Sequence[str]) -> Iterator[dict]:
    for model in models:
        yield from records.iter_rows(f"data/answers/{model}.parquet", records.ANSWERS)


def _share(part: int, whole: int) -> tuple[float, float, float]:
    """A share, and both ends of its interval (Wilson 1927); of nothing, anything may be true."""
    if not whole:
        return 0.0, 0.0, 1.0
    found = binomtest(int(part), int(whole)).proportion_ci(method="wilson")
    return part / whole, found.low, found.high


if __name__ == "__main__":
    main()
