"""An entry of a full study, written, validated and scored: ``python -m benchmarks.entry``.

3,940 cases on films of 2544 x 3056 pixels, as many as the paper keeps and as large as MIMIC-CXR's; a map for each, of a
token grid and of 224 x 224, under both protocols. What the board does with an upload, on all cores: wall time, and the
CPU time of all threads and processes together, which other work on the machine hardly moves.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.ndimage import gaussian_filter

from medground import submission
from medground.scoring import score_entry
from medground.scoring.tables import read_attributions

WIDTH, HEIGHT = 2544, 3056
DIFFERENT = 50  # maps, which take turns
CARD = {
    "method": "random blobs", "version": "1", "authors": ["Benchmark"], "licence": "MIT", "models": ["m"],
    "modes": ["direct"], "hardware": "none", "used_test_regions": False, "trained_on_sources": False,
}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3940)
    parser.add_argument("--sides", type=int, nargs="+", default=[14, 224], help="of the maps, in cells")
    arguments = parser.parse_args(argv)
    asked = cases(arguments.cases)
    print("| map | table | write: wall, CPU | validate: wall, CPU | score: wall, CPU |")
    print("|---|---|---|---|---|")
    for side in arguments.sides:
        with tempfile.TemporaryDirectory() as folder:
            print(row(Path(folder) / "entry", side, asked), flush=True)


def cases(count: int) -> list[dict]:
    """Cases of one model with a region each, somewhere on the film."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0.1, 0.5, (count, 2))
    sizes = rng.uniform(0.1, 0.4, (count, 2))
    boxes = np.concatenate([corners, corners + sizes], 1) * (WIDTH, HEIGHT, WIDTH, HEIGHT)
    film = {"model": "m", "mode": "direct", "width": WIDTH, "height": HEIGHT}
    return [{"case_id": f"m/direct/s/{k}", **film, "regions": [box]} for k, box in enumerate(boxes.tolist())]


def row(folder: Path, side: int, asked: list[dict]) -> str:
    """A row of the table: bytes of the entry, and seconds of each step."""
    rng = np.random.default_rng(side)
    maps = [gaussian_filter(rng.random((side, side)), side / 16).astype(np.float32) for _ in range(DIFFERENT)]
    start = now()
    submission.write(folder, maps={c["case_id"]: maps[k % DIFFERENT] for k, c in enumerate(asked)}, **CARD)
    written = now()
    report = submission.validate(folder, asked)
    if not report.valid:
        Console(stderr=True).print(report.text(), markup=False)
        sys.exit(1)
    validated = now()
    rows = score_entry("entry", read_attributions(folder / submission.TABLE), asked)
    scored = now()
    assert len(rows) == 2 * len(asked) and not any(row["problem"] for row in rows)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    took = [after - before for before, after in pairwise((start, written, validated, scored))]
    cells = [f"{side} x {side}", f"{size:.1f} MB", *(f"{wall:.1f} s, {cpu:.1f} s" for wall, cpu in took)]
    return f"| {' | '.join(cells)} |"


def now() -> np.ndarray:
    """Seconds on the wall, and of processors: of this process's threads, and of processes that it waited for."""
    return np.array([time.perf_counter(), sum(os.times()[:4])])


if __name__ == "__main__":
    main()
