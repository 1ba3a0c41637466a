"""The board with intervals, ties and floors: data/board/."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medground import engine, files, params, ranking, records
from medground.charts import intervals
from medground.ranking.show import show
from medground.scoring.tables import dataset_version, load_cases

METRICS = Path("data/metrics.json")  # of `dvc metrics`


@engine.stage
def main() -> None:
    p = params.load()
    out = Path("data/board")
    cases = load_cases("data")
    facts = {entry["entry"]: entry for entry in files.read_json("data/scores/entries.json", list)}
    scores = records.read_table("data/scores/scores.parquet", records.SCORES)
    results = ranking.Results.of(scores, cases)
    how: ranking.Resampling = {"resamples": p.rank.resamples, "level": p.rank.level, "seed": p.seed}
    kinds = {name: entry["kind"] for name, entry in facts.items()}
    seconds = {name: entry["seconds"] for name, entry in facts.items()}
    checks = files.read_json("data/sanity/sanity.json", dict)
    carried = records.read_rows(p.rank.follows, records.BOARD) if p.rank.follows else []
    carried = [row for row in carried if (row["track"], row["split"]) == ("all", "all")]
    rows = ranking.board(results, kinds, seconds, **how, sanity={name: said(of) for name, of in checks.items()},
                         carried=carried, carried_from=p.rank.follows)  # fmt: skip
    dataset = dataset_version(cases)
    records.write_table(rows, records.BOARD, out / "board.parquet", settings={"dataset": dataset, **how})
    summed = ranking.summary(results, rows, dataset=dataset, **how)
    files.write_json(summed, out / "board.json")
    files.write(pd.DataFrame(ranking.localisation(results, **how)).to_csv(index=False), out / "localisation.csv")
    test = [row for row in rows if (row["track"], row["split"]) == ("all", "test")]
    lines = [(row["entry"], row["iou"], row["iou_low"], row["iou_high"]) for row in test if row["iou"] is not None]
    lines.sort(key=lambda line: -line[1])
    measure = f"IoU, with the {p.rank.level:.0%} interval of a bootstrap over patients"
    files.write(intervals(lines, "Mean IoU with the expert regions, test split", measure), out / "localisation.svg")
    filtered = Path("data/cases/filter.json")  # absent where released cases, which were filtered elsewhere, are ranked
    kept = files.read_json(filtered)["kept_of_right"] if filtered.exists() else {}
    files.write_json(ranking.metrics(summed, test, kept), METRICS)
    show([row for row in rows if (row["track"], row["split"]) == ("all", "all")])


def said(checks: dict[str, dict]) -> str:
    """What the sanity checks of an entry come to: pass, or the ones that it fails; nothing where none was made."""
    failed = [check for check, one in checks.items() if not one["passes"]]
    return "fails " + ", ".join(failed) if failed else "pass" if checks else ""


if __name__ == "__main__":
    main()
