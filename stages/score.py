"""Every method and submission against the expert regions, under both protocols: data/scores/."""

from __future__ import annotations

from pathlib import Path

from medground import engine, files, params, records
from medground.attribution import by_entry
from medground.scoring.entries import method_entry, score_entries, summarise
from medground.scoring.tables import dataset_version, load_cases
from medground.submission import accepted


@engine.stage
def main() -> None:
    p = params.load()
    out = Path("data/scores")
    cases = load_cases("data")
    floors = {name for name in p.methods if by_entry(name).group == "floor"}
    entries = [method_entry(name, p.models, Path("data/attributions"), floors) for name in p.methods]
    entries += accepted(Path("submissions"), cases)
    rows = score_entries(entries, cases, cache=Path(".progress/scores"))
    records.write_table(rows, records.SCORES, out / "scores.parquet", settings={"dataset": dataset_version(cases)})
    means = summarise(rows, cases)
    files.write_json(means, out / "summary.json")
    files.write_json([entry.facts() for entry in entries], out / "entries.json")
    for entry, overall in means.items():
        print(f"{entry:24} IoU {overall['iou']:.3f}  hit {overall['hit']:.3f}")


if __name__ == "__main__":
    main()
