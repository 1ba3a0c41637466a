"""Every method and submission against the expert regions, under both protocols: data/scores/."""

from __future__ import annotations

import json
from pathlib import Path

from medground import engine, params, records
from medground.attribution import by_entry
from medground.errors import friendly
from medground.scoring.entries import method_entry, score_entries, summarise
from medground.scoring.tables import dataset_version, load_cases
from medground.submission import accepted


@friendly
def main() -> None:
    p = params.load()
    out = Path("data/scores")
    cases = load_cases("data")
    floors = {name for name in p.methods if by_entry(name).group == "floor"}
    entries = [method_entry(name, p.models, Path("data/attributions"), floors) for name in p.methods]
    entries += accepted(Path("submissions"), cases)
    rows = score_entries(entries, cases, cache=Path(".progress/scores"))
    made_by = engine.provenance(p, dataset=dataset_version(cases))
    records.write_table(rows, records.SCORES, out / "scores.parquet", **made_by)
    means = summarise(rows, cases)
    (out / "summary.json").write_text(json.dumps(means, indent=1) + "\n")
    (out / "entries.json").write_text(json.dumps([entry.facts() for entry in entries], indent=1) + "\n")
    for entry, overall in means.items():
        print(f"{entry:24} IoU {overall['iou']:.3f}  hit {overall['hit']:.3f}")


if __name__ == "__main__":
    main()
