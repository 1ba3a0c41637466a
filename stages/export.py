"""The folder for the Hugging Face Hub: data/hub/."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from medground import engine, params
from medground.hub import folder
from medground.hub.about import asked


@engine.stage
def main() -> None:
    out = Path("data/hub")
    p = params.load()
    folder.build("data", out, hide_test_regions=p.publish.hide_test_regions, **asked(p))
    for shard in sorted(out.rglob("*.parquet")):
        print(f"{shard}: {pq.read_metadata(shard).num_rows} rows, {shard.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
