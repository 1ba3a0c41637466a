"""The board with intervals, ties and floors: data/board/."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medground import engine, files, params, ranking, records
from medground.ranking.show import show
from medground.scoring.tables import dataset_version, load_cases


@engine.stage
def main() -> None:
    p = params.load()
    out = Path("data/board")
    cases = load_cases("data")
    facts = {entry["entry"]: entry for entry in files.read_json("data/scores/entries.json", list)}
    scores = records.read_table("data/scores/scores.parquet", records.SCORES)
    results = ranking.Results.of(scores, cases)
    drawn = {"resamples": p.rank.bootstrap, "level": p.rank.level, "seed": p.seed}
    kinds = {name: entry["kind"] for name, entry in facts.items()}
    seconds = {name: entry["seconds"] for name, entry in facts.items()}
    rows = ranking.board(results, kinds, seconds, **drawn)
    dataset = dataset_version(cases)
    records.write_table(rows, records.BOARD, out / "board.parquet", settings={"dataset": dataset, **drawn})
    said = ranking.summary(results, rows, dataset=dataset, **drawn)
    files.write_json(said, out / "board.json")
    means = pd.DataFrame(ranking.localisation(results, **drawn))
    means["attribution"] = means["entry"] + ", " + means["model"] + ", " + means["mode"]
    files.write(means.to_csv(index=False), out / "localisation.csv")
    show([row for row in rows if (row["track"], row["split"]) == ("all", "all")])


if __name__ == "__main__":
    main()
