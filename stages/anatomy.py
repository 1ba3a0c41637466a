"""Where each concept is on each film: data/anatomy/concepts.parquet; as published: data/anatomy/published.parquet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medground import engine, files, params, records
from medground.anatomy import TIGHTENED, LocateTask, References, copies, overlap
from medground.lvlm import checkpoints

TABLES = {"medground": "concepts", "published": "published"}
REFERENCES = Path("data/references/references.parquet")


@engine.stage
def main() -> None:
    p = params.load()
    out = Path("data/anatomy")
    tables = [Path(f"data/samples/{source}/samples.parquet") for source in p.sources]
    samples = [sample for table in tables for sample in records.read_rows(table, records.SAMPLES)]
    found = {}
    for protocol, name in TABLES.items():
        segmenter = p.grounding.segmenter if protocol in TIGHTENED else None
        settings = {"protocol": protocol, "anatomy": vars(p.anatomy), "segmenter": segmenter}
        settings["weights"] = segmenter and checkpoints.revision(segmenter)
        engine.map(
            LocateTask(REFERENCES, protocol, p.anatomy.solver, segmenter),
            samples,
            key=lambda sample: f"{sample['source']}/{sample['index']}, film {sample['film']}",
            out=out / f"{name}.parquet",
            schema=records.CONCEPTS,
            **engine.options(p, [*tables, REFERENCES], **settings),
        )
        found[protocol] = records.read_rows(out / f"{name}.parquet", records.CONCEPTS)
    references = References.read(REFERENCES)
    chosen = {(row["source"], row["index"]): row["reference"] for row in found["published"]}
    found["copy"] = copies(samples, references, chosen)
    found["copy_mean"] = copies(samples, references)
    fit = {protocol: overlap(samples, rows) for protocol, rows in found.items()}
    files.write_json(fit, out / "localisation.json")
    print(f"{len(samples)} samples, {len(found['medground'])} concept boxes")
    if fit["medground"]:
        print(pd.DataFrame(fit).round(3).to_string(), "\nmean IoU with the true boxes; copy: the reference that the "
              "paper's rule picks, unmoved; copy_mean: the mean of all references, unmoved")  # fmt: skip


if __name__ == "__main__":
    main()
