"""Did this machine reproduce ``dvc.lock``? Output by output, and where a file first differs.

A lock holds the MD5 of each output; that of a folder is the MD5 of the list of its files, which DVC keeps in its cache.
What is compared is what lies in the working folder, hashed anew.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from .errors import MedgroundError


@dataclass(frozen=True)
class Output:
    """An output of the lock: ``same``, ``other`` or ``missing`` here, and what can be told about the difference."""

    stage: str
    path: str
    state: str
    first: str = ""


def compare(root: Path, lock: str, stages: Collection[str]) -> list[Output]:
    """Each output of a lock file's text against the files under ``root``, in the order of the lock.

    Of ``stages`` alone, those that dvc.yaml has: DVC leaves a stage in the lock that is gone from the pipeline, and
    nothing makes its outputs any more. Raises MedgroundError where the text is no lock file of DVC.
    """
    try:
        locked = yaml.safe_load(lock)["stages"]
        outs = [
            (name, out["path"], out["md5"])
            for name, stage in locked.items()
            if name in stages
            for out in stage.get("outs", [])
        ]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise MedgroundError(
            f"this is no dvc.lock ({type(error).__name__}: {error}); `git checkout dvc.lock`"
        ) from None
    return [_compared(root, *out) for out in outs]


def stages_of(root: Path) -> list[str]:
    """The names of the stages in ``dvc.yaml`` under ``root``, those of a matrix one by one, as the lock has them."""
    command = [sys.executable, "-m", "dvc", "stage", "list", "--name-only"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MedgroundError(
            f"`dvc stage list` fails in {root} ({said}); run this where dvc.yaml is, with DVC installed"
        )
    return done.stdout.split()


def lock_of(root: Path, revision: str) -> str:
    """The text of ``dvc.lock`` at a git revision; that in the working folder changes with every `dvc repro`."""
    command = ["git", "-C", str(root), "show", f"{revision}:./dvc.lock"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MedgroundError(f"git has no dvc.lock at {revision} ({done.stderr.strip()}); give another --revision")
    return done.stdout


def versions(root: Path, most: int = 50) -> list[dict[str, str]]:
    """When ``dvc.lock``, and so some table, changed, the latest first: ``date`` and ``what``, of git's log; nothing
    where git, or the repository, is not there."""
    command = ["git", "-C", str(root), "log", f"-{most}", "--format=%cs\t%s", "--", "dvc.lock"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [dict(zip(("date", "what"), line.split("\t", 1), strict=True)) for line in done.stdout.splitlines()]


def digest(path: Path) -> str:
    """The MD5 that DVC gives a file, or a folder: that of the list of its files, with ``.dir`` behind it."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    return hashlib.md5(json.dumps(_listed(path), sort_keys=True).encode()).hexdigest() + ".dir"


def _listed(folder: Path) -> list[dict[str, str]]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".partial")]
    entries = [{"md5": digest(path), "relpath": path.relative_to(folder).as_posix()} for path in files]
    return sorted(entries, key=lambda entry: entry["relpath"])


def _compared(root: Path, stage: str, name: str, md5: str) -> Output:
    path = root / name
    if not path.exists():
        return Output(stage, name, "missing")
    if digest(path) == md5:
        return Output(stage, name, "same")
    return Output(stage, name, "other", _first(root, path, md5))


def _first(root: Path, path: Path, md5: str) -> str:
    """What differs first, as far as DVC's cache here knows what it should be."""
    kept = _cached(root, md5)
    if not kept.exists():
        return "the cache of this machine does not hold what the lock names, so that no more can be told"
    if not md5.endswith(".dir"):
        return _in_file(kept, path)
    wanted = {entry["relpath"]: entry["md5"] for entry in json.loads(kept.read_bytes())}
    found = {entry["relpath"]: entry["md5"] for entry in _listed(path)}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) == found.get(name):
            continue
        if name not in found:
            return f"{name} is missing"
        if name not in wanted:
            return f"{name} is not in the lock"
        file = _cached(root, wanted[name])
        return f"{name}: " + (_in_file(file, path / name) if file.exists() else "differs; the cache does not hold it")
    return "the same files, listed in another way"


def _cached(root: Path, md5: str) -> Path:
    return root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def _in_file(wanted: Path, found: Path) -> str:
    """Where two files part: the column and row of a table, the line of a text, else the byte."""
    try:
        return _in_table(pq.read_table(wanted), pq.read_table(found))
    except (pa.ArrowException, OSError):
        pass
    first, second = wanted.read_bytes(), found.read_bytes()
    byte = next(number for number, (a, b) in enumerate(zip_longest(first, second)) if a != b)
    try:
        first.decode(), second.decode()
    except UnicodeDecodeError:
        return f"byte {byte}"
    line = first[:byte].count(b"\n") + 1
    return f"line {line}"


def _in_table(wanted: pa.Table, found: pa.Table) -> str:
    if wanted.schema.names != found.schema.names:
        return f"columns {found.schema.names}, in the lock {wanted.schema.names}"
    if len(wanted) != len(found):
        return f"{len(found)} rows, in the lock {len(wanted)}"
    for row, column, one, other in _differences(wanted, found):
        return f"column {column}, row {row}: {_short(other)}, in the lock {_short(one)}"
    return "equal values, in other bytes: another pyarrow, or other metadata"


def _differences(wanted: pa.Table, found: pa.Table) -> Iterator[tuple[int, str, object, object]]:
    for column in wanted.schema.names:
        pairs = zip(wanted[column].to_pylist(), found[column].to_pylist(), strict=True)
        yield from ((row, column, one, other) for row, (one, other) in enumerate(pairs) if repr(one) != repr(other))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
