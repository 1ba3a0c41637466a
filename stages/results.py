"""The board of models: data/results/results.parquet."""

from __future__ import annotations

from pathlib import Path

from medground import engine, params, records
from medground.evaluation.results import results
from medground.evaluation.tables import RESULTS, VERDICTS
from medground.ranking.bootstrap import Resampling

COLUMNS = [name for name in VERDICTS.names if name != "text"]


@engine.stage
def main() -> None:
    p = params.load()
    found: list[dict] = []
    revisions = {}
    for model in p.models:
        found += records.iter_rows(f"data/evaluations/{model}.parquet", VERDICTS, COLUMNS)
        answers = Path(f"data/answers/{model}.parquet")
        revisions[model] = records.made_by(answers).get("settings", {}).get("revision")
    how: Resampling = {"resamples": p.rank.resamples, "level": p.rank.level, "seed": p.seed}
    rows = results(found, revisions, **how)
    records.write_table(rows, RESULTS, "data/results/results.parquet", settings=dict(how))
    for row in rows:
        if row["finding"] is None and row["grounded"] is not None:
            print(f"{row['model']} {row['mode']} {row['split']}: accuracy {row['accuracy']:.3f}, grounded "
                  f"{row['grounded']:.3f} [{row['grounded_low']:.3f}, {row['grounded_high']:.3f}]")  # fmt: skip


if __name__ == "__main__":
    main()
