"""The board with intervals, ties and floors: data/board/."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from medground import engine, params, ranking, records
from medground.cli import friendly
from medground.scoring.tables import dataset_version, load_cases


@friendly
def main() -> None:
    p = params.load()
    out = Path("data/board")
    cases = load_cases("data")
    facts = {entry["entry"]: entry for entry in json.loads(Path("data/scores/entries.json").read_text())}
    results = ranking.Results.of(records.read_table("data/scores/scores.parquet", records.SCORES), cases)
    drawn = {"resamples": p.rank.bootstrap, "level": p.rank.level, "seed": p.seed}
    kinds = {name: entry["kind"] for name, entry in facts.items()}
    seconds = {name: entry["seconds"] for name, entry in facts.items()}
    rows = ranking.board(results, kinds, seconds, **drawn)
    dataset = dataset_version(cases)
    records.write_table(rows, records.BOARD, out / "board.parquet", **engine.provenance(p, dataset=dataset, **drawn))
    said = ranking.summary(results, rows, dataset=dataset, resamples=p.rank.bootstrap, level=p.rank.level)
    (out / "board.json").write_text(json.dumps(said, indent=1) + "\n")
    pd.DataFrame(ranking.localisation(results, **drawn)).to_csv(out / "localisation.csv", index=False)
    show(said)


def show(said: dict) -> None:
    """The overall track as a table."""
    counts = f"{said['cases']['all']} cases of {said['patients']} patients, {said['level']:.0%} intervals"
    table = Table("rank", "entry", "kind", "IoU", "interval", "ranks", "ties", "coverage", title=counts)
    for row in said["board"]:
        interval, ranks = f"{row['iou_low']:.3f}-{row['iou_high']:.3f}", f"{row['rank_low']}-{row['rank_high']}"
        numbers = f"{row['iou']:.3f}", interval, ranks, row["tie"], f"{row['coverage']:.3f}"
        table.add_row(str(row["rank"]), row["entry"], row["kind"], *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
