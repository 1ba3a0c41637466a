"""Copy what a Hub Space of the leaderboard needs into a folder: the app, the library, the tables.

    python space/assemble.py build/space

Refuses tables of sources whose films, boxes or texts may not be shown to anybody.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from medground import records
from medground.errors import MedgroundError, friendly
from medground.hub.licences import EVERYTHING, source

CODE = ("medground", "leaderboard", "space", ".streamlit/config.toml", "params.yaml", "submissions")
TABLES = ("board", "scores", "cases", "samples", "edits", "answers", "attributions")


def assemble(root: Path, out: Path) -> None:
    """Make ``out`` anew from the repository ``root``. Raises MedgroundError for what is missing or may not leave."""
    if out.exists():
        raise MedgroundError(f"{out} exists; delete it or name another folder")
    cases = records.read_table(root / "data/cases/cases.parquet", records.CASES)
    closed = [name for name in sorted(set(cases["source"].to_pylist())) if source(name).may_leave != EVERYTHING]
    if closed:
        raise MedgroundError(
            f"the tables are of {', '.join(closed)}, which may not be shown to everybody; run the container on a "
            "machine of your own, with MEDGROUND_PRIVATE=1, for those who signed their agreements"
        )
    for name in (*CODE, *(f"data/{table}" for table in TABLES)):
        _copy(root / name, out / name)
    for name in ("Dockerfile", "README.md"):  # where the Hub looks for them
        shutil.copy(root / "space" / name, out / name)


def _copy(path: Path, out: Path) -> None:
    if not path.exists():
        raise MedgroundError(f"{path} is missing; run `dvc repro`")
    out.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, out, ignore=shutil.ignore_patterns("__pycache__", ".*", "secrets.toml"))
    else:
        shutil.copy(path, out)


@friendly
def main() -> None:
    """Assemble into the folder that the command line names."""
    if len(sys.argv) != 2:
        raise MedgroundError("name the folder to make: python space/assemble.py build/space")
    assemble(Path("."), Path(sys.argv[1]))
    files = [path for path in Path(sys.argv[1]).rglob("*") if path.is_file()]
    print(f"{sys.argv[1]}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
