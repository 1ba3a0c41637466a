"""Read entries and films that were made to do harm, and measure what they cost: a section of docs/reliability.md.

    python scripts/reliability_hostile.py              prints the table
    python scripts/reliability.py hostile              and puts it into docs/reliability.md

Each is read in a process of its own, as the board reads entries (`medground.submission.accepted`, then its table) and
as ingestion reads films (`medground.images.read_film`). Peak memory is that of the process and of what it starts;
*alone* is what the process takes before it reads. It fails where anything ends in a traceback, hangs, or is accepted.
"""

from __future__ import annotations

import json
import os
import pickle
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from medground import submission
from medground.submission.writer import write_rows

if TYPE_CHECKING:
    from reliability_workplace import Workplace

ROOT = Path(__file__).parents[1]
SECONDS = 300
CASES = [
    {"case_id": f"a/direct/phantom_lesion/{index}", "model": "a", "mode": "direct", "source": "phantom_lesion",
     "index": index, "width": 320, "height": 256, "split": "dev", "control": "honest", "regions": [[1.0, 1, 9, 9]]}
    for index in range(8)
]  # fmt: skip
CHILD = """
import json, resource, sys
from pathlib import Path
import pydicom.pixels
from medground import submission
from medground.errors import MedgroundError
from medground.images import read_film
cases = json.loads(sys.argv[3])


def peak():  # of this program alone: what getrusage says is no less than what its parent had
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


alone = peak()
try:
    if sys.argv[1] == "film":
        read_film(sys.argv[2])
    else:
        for entry in submission.accepted(sys.argv[2], cases):
            list(entry.attributions())
    outcome = "accepted"
except MedgroundError as error:
    outcome = "message"
except BaseException as error:
    outcome = f"traceback: {type(error).__name__}"
own, others = peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([outcome, alone >> 10, max(own, others) >> 10]))
"""


def bomb(path: Path) -> None:
    """A table of two kilobytes whose maps are gigabytes: one long list, many times in a dictionary of runs."""
    row = pa.array([np.zeros(1 << 20, np.float32)], pa.list_(pa.float32()))
    table = pa.table(
        {
            "case_id": [case["case_id"] for case in CASES] * 64, "grid": pa.concat_arrays([row] * 512),
            "grid_height": pa.array([1024] * 512, pa.int32()), "grid_width": pa.array([1024] * 512, pa.int32()),
        }
    )  # fmt: skip
    pq.write_table(table, path, compression="zstd", use_dictionary=True)


def boxes(path: Path) -> None:
    """Ten thousand boxes in every case."""
    rows = [{"case_id": case["case_id"], "boxes": [[0.0, 0, 9, 9]] * 10_000} for case in CASES]
    write_rows(rows, path)


def grids(path: Path) -> None:
    """Maps of sixteen million cells."""
    grid = np.arange(1 << 24, dtype=np.float32) % 97
    rows = [{"case_id": c["case_id"], "grid": grid, "grid_height": 4096, "grid_width": 4096} for c in CASES]
    write_rows(rows, path)


def names(path: Path) -> None:
    """A hundred thousand rows of one name of a megabyte, which is stored once."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table({"case_id": column, "boxes": pa.nulls(100_000, pa.list_(pa.list_(pa.float64())))}), path)


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


CARD, TABLE, RECEIPT = "entry.yaml", "attributions.parquet", "receipt.json"
ENTRIES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "receipt: link to /dev/zero": (RECEIPT, zero),
    "receipt: pipe": (RECEIPT, os.mkfifo),
    "receipt: folder": (RECEIPT, Path.mkdir),
    "receipt: deep JSON": (RECEIPT, text("[" * 60_000)),
    "receipt: a list": (RECEIPT, text("[1]")),
    "card: link to /dev/zero": (CARD, zero),
    "card: pipe": (CARD, os.mkfifo),
    "card: a list": (CARD, text("- a\n- b\n")),
    "card: deep YAML": (CARD, text("a: " + "[" * 9000)),
    "card: aliases": (CARD, text("a: &a [x, x]\n" + "\n".join(f"k{n}: [*a, *a]" for n in range(40)))),
    "card: a megabyte": (CARD, text("a: " + "x" * (1 << 20))),
    "card: runs a program": (CARD, text("a: !!python/object/apply:os.system ['true']\n")),
    "table: link to /dev/zero": (TABLE, zero),
    "table: pipe": (TABLE, os.mkfifo),
    "table: pickle": (TABLE, lambda path: path.write_bytes(pickle.dumps({"a": 1}))),
    "table: bare magic": (TABLE, text("PAR1PAR1")),
    "table: gigabytes in kilobytes": (TABLE, bomb),
    "table: 10,000 boxes a case": (TABLE, boxes),
    "table: maps of 4096 x 4096": (TABLE, grids),
    "table: 100,000 names of a megabyte": (TABLE, names),
    "another file: link to /dev/zero": ("extra", zero),
}


def entry(root: Path, name: str, make: Callable[[Path], object]) -> Path:
    """A folder of entries with one, of which one file was exchanged."""
    maps = {case["case_id"]: np.random.default_rng(0).random((8, 10)) for case in CASES}
    folder = submission.write(
        root / "root/mine", maps=maps, method="Mine", version="1", authors=["A"], licence="CC0-1.0", models=["a"],
        modes=["direct"], hardware="none", used_test_regions=False, trained_on_sources=False,
    )  # fmt: skip
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    return root / "root"


def read(kind: str, path: Path) -> tuple[str, int, int]:
    """How reading ended, and megabytes: alone, and at the peak."""
    words = [sys.executable, "-W", "ignore", "-c", CHILD, kind, str(path), json.dumps(CASES)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT)
        return tuple(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return "hung", 0, 0
    except ValueError:
        return f"died ({done.returncode})", 0, 0


def section(place: Workplace | None = None, options: object = None) -> list[str]:
    """Read each, in a process of its own; the table. What was read is kept in a workplace: a run that was stopped goes
    on with the others."""
    known: dict[str, list] = place.found.setdefault("hostile", {}) if place else {}
    films = runpy.run_path(str(ROOT / "tests/test_film_limits.py"))["HARM"]
    lines = ["| | what | ended with | alone, MB | peak, MB |", "|---|---|---|---|---|"]
    tried = [("entry", name, *what) for name, what in ENTRIES.items()]
    tried += [("film", name, name, make) for name, (make, _) in films.items()]
    wrong = 0
    with tempfile.TemporaryDirectory() as work:
        for number, (kind, label, name, make) in enumerate(tried):
            if f"{kind}: {label}" not in known:
                folder = Path(work) / str(number)
                folder.mkdir()
                if kind == "entry":
                    path = entry(folder, name, make)
                else:
                    path = folder / name
                    make(path)
                known[f"{kind}: {label}"] = list(read(kind, path))
                if place:
                    place.keep()
            outcome, alone, peak = known[f"{kind}: {label}"]
            wrong += outcome != "message"
            lines.append(f"| {kind} | {label} | {outcome} | {alone} | {peak} |")
    return [*lines, "", f"{len(tried)} tried; {wrong} ended otherwise than with a message."]


if __name__ == "__main__":
    found = section()
    print("\n".join(found))
    raise SystemExit("; 0 ended" not in found[-1])
