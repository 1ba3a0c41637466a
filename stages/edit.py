"""Counterfactuals of every sample of a source: data/edits/<source>/."""

from __future__ import annotations

import argparse
from pathlib import Path

from medground import editing, engine, params, records, sources


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    source = parser.parse_args().source
    p = params.load()
    sources.licence_of(source)  # before anything is made of its films
    table = Path("data/samples") / source / "samples.parquet"
    samples = records.read_rows(table, records.SAMPLES)
    out = Path("data/edits") / source
    engine.map(
        editing.editor(p, samples, out),
        samples,
        key=lambda sample: f"{source}/{sample['index']}, film {sample['film']}",
        out=out / "edits.parquet",
        schema=records.EDITS,
        **engine.options(p, [table], edit=p.edit.model_dump(), seeds=p.verify.seeds),
    )
    print(f"{source}: {len(samples)} samples, {len(samples) * p.verify.seeds * len(editing.EDITS)} edited films")


if __name__ == "__main__":
    main()
