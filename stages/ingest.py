"""Films and questions of one source: data/samples/<source>/."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from medground import engine, files, params, records, sources


@engine.stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    source = parser.parse_args().source
    p = params.load()
    out = Path("data/samples") / source
    dropped = sources.ingest(p, source, Path("data/raw"), out)
    samples = records.read_rows(out / "samples.parquet", records.SAMPLES)
    summary = {
        "samples": len(samples),
        "films": len({s["film"] for s in samples}),
        "patients": len({s["patient_id"] for s in samples}),
        "by_split": dict(sorted(Counter(s["split"] for s in samples).items())),
        "by_finding": dict(sorted(Counter(s["finding"] for s in samples).items())),
        "dropped": dropped,
    }
    files.write_json(summary, out / "summary.json")
    print(source, json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
