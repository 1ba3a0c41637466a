"""The three-step filter over all answers: data/cases/ (cases, retention, and the paper's JSON files)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from medground import engine, files, params, records
from medground.charts import intervals
from medground.lvlm.prompts import MODES
from medground.ranking.bootstrap import Resampling, share_interval
from medground.verification import causes
from medground.verification.gates import draw, released_records, retention, verify


@engine.stage
def main() -> None:
    p = params.load()
    out = Path("data/cases")
    samples = [s for source in p.sources
               for s in records.read_rows(f"data/samples/{source}/samples.parquet", records.SAMPLES)]  # fmt: skip
    answers = [a for model in p.models for a in records.read_rows(f"data/answers/{model}.parquet", records.ANSWERS)]
    taught = {model: causes.controls(model) for model in p.models}
    cases = verify(samples, answers, taught, seeds=p.verify.seeds, agreement=p.verify.agreement)
    rows = retention(cases)
    how: Resampling = {"level": p.rank.level, "resamples": p.rank.resamples, "seed": p.seed}
    regions = {(sample["source"], sample["index"]): sample["regions"] for sample in samples}
    kinds = causes.by_control(cases, partial(share_interval, **how), regions)
    cases = causes.pair(cases, {model: causes.family(model) for model in p.models}, p.verify.pairs, p.seed)
    cases = draw(cases, p.verify.max_per_group, p.seed)
    made_from = {"seed": p.seed, "settings": {"verify": vars(p.verify)}}
    records.write_table(cases, records.CASES, out / "cases.parquet", **made_from)
    files.write_json(rows, out / "retention.json")
    for mode in MODES:
        files.write_json(released_records(cases, answers, mode), out / f"{mode}.json")
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
    print(f"{sum(case['kept'] for case in cases)} of {counts['kept'].sum()} verified cases drawn for the benchmark")
    pairs = pd.Series([case["pair"] for case in cases], dtype=object).dropna()
    print(f"{pairs.nunique()} pairs; causes verified in {sum(row['verified'] for row in kinds.values())} of "
          f"{sum(row['known'] for row in kinds.values())} right answers whose parts are known")  # fmt: skip


def _share(part: int, whole: int) -> tuple[float, float, float]:
    """A share, and both ends of its interval (Wilson 1927); of nothing, anything may be true."""
    if not whole:
        return 0.0, 0.0, 1.0
    found = binomtest(int(part), int(whole)).proportion_ci(method="wilson")
    return part / whole, found.low, found.high


if __name__ == "__main__":
    main()
