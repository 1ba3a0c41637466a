"""What another clone gets, by pulling and by computing, and what costs what: three sections of docs/reliability.md."""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from reliability_workplace import ROOT, Workplace, environment

GRAPH = ("tests/test_graph.py", "tests/test_dvc.py", "tests/engine/test_code.py")
APP = """
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("leaderboard/app.py", default_timeout=300).run()
print(len(app.exception), "exceptions")
"""


def pull(place: Workplace, options: argparse.Namespace) -> list[str]:
    """Push to a remote, pull in a second clone, and use what came."""
    store, clone = place.base / "store", place.base / "pulled"
    _away(store, clone)
    place.made()
    place.run("dvc", "commit", "--force")  # the interruptions empty the cache
    place.run("dvc", "remote", "add", "--default", "--force", "storage", str(store))
    place.run("git", "commit", "--quiet", "--all", "--message", "Where the data is")
    pushed = place.run("dvc", "push")
    place.run("git", "clone", "--quiet", str(place.folder), str(clone), where=place.base)
    pulled = place.run("dvc", "pull", where=clone)
    first, second = dict(_outputs(place.folder)), dict(_outputs(clone))
    ran = re.findall(r"Running stage '(.+?)'", place.run("dvc", "repro", where=clone))
    board = ("medground", "board", "--split", "test")
    shown = place.run(*board), place.run(*board, where=clone)
    rows = {
        "`dvc push`": pushed.splitlines()[-1],
        "`dvc pull` in a second clone": pulled.splitlines()[-1],
        "files that came / that are other than in the first": f"{len(second)} / {_other(first, second)}",
        "`dvc status` there": place.run("dvc", "status", where=clone).splitlines()[-1],
        "stages that `dvc repro` runs there": len(ran),
        "`medground board --split test`": "the same" if shown[0] == shown[1] and "exit" not in shown[1] else "another",
        "the app's first page": _said(place.run(sys.executable, "-W", "ignore", "-c", APP, where=clone), "exceptions"),
        "lines of `git status` there": len(place.run("git", "status", "--porcelain", where=clone).splitlines()),
    }
    _away(store, clone)
    return _table(rows)


def reproduced(place: Workplace, options: argparse.Namespace) -> list[str]:
    """Compute everything in a fresh clone that has the CT and nothing else, and compare with the lock. A run that was
    stopped goes on in the same clone; the stages that ran before are counted, too."""
    clone, ran = place.base / "computed", place.base / "computed.txt"
    place.made()
    commit = place.run("git", "rev-parse", "HEAD")
    if not clone.exists() or place.run("git", "rev-parse", "HEAD", where=clone) != commit:
        _away(clone)
        ran.unlink(missing_ok=True)
        place.run("git", "clone", "--quiet", str(place.folder), str(clone), where=place.base)
    if not (clone / "data/raw/ct").exists():
        partial = clone / "data/raw/.ct"
        _away(partial)
        shutil.copytree(place.folder / "data/raw/ct", partial)
        partial.rename(clone / "data/raw/ct")
    with ran.open("a") as log:  # not a pipe: what was said before a run is stopped counts
        subprocess.run(
            ["dvc", "repro", "--no-run-cache"], cwd=clone, env=environment(clone), stdout=log, stderr=log, check=False
        )
    said = ran.read_text()
    compared = place.run("medground", "reproduced", where=clone).splitlines()
    if "exit" in compared[-1]:
        place.log(said + "\n".join(compared))
    rows = {
        "stages that `dvc repro` ran in the clone": len(set(re.findall(r"Running stage '(.+?)'", said))),
        "`medground reproduced`": next(line for line in compared if " outputs of dvc.lock" in line),
        "lines of dvc.lock that changed": len(
            place.run("git", "diff", "--unified=0", "dvc.lock", where=clone).splitlines()
        ),
        "lines of `git status` there": len(place.run("git", "status", "--porcelain", where=clone).splitlines()),
    }
    _away(clone)
    ran.unlink()
    return _table(rows)


def graph(place: Workplace, options: argparse.Namespace) -> list[str]:
    """The tests of the graph, each with what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", f"--junitxml={report}", *GRAPH]
        subprocess.run(command, cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
        cases = list(ElementTree.parse(report).iter("testcase"))
    lines = ["| test | outcome |", "|---|---|"]
    for case in cases:
        bad = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
        name = case.get("name", "").removeprefix("test_").replace("_", " ").replace("|", " ")
        lines.append(f"| {name} | {bad[0] if bad else 'passed'} |")
    passed = sum(line.endswith("| passed |") for line in lines)
    return [*lines, "", f"{passed} of {len(cases)} passed."]


def _said(printed: str, word: str) -> str:
    """The line with a word among what a program printed, wherever its warnings stand; the last line without it."""
    lines = printed.splitlines()
    return next((line for line in lines if line.endswith(word)), lines[-1])


def _table(rows: dict[str, object]) -> list[str]:
    return ["| what | found |", "|---|---|", *(f"| {what} | {found} |" for what, found in rows.items())]


def _outputs(root: Path) -> Iterator[tuple[str, str]]:
    """The files under data/ that DVC versions, with their SHA-256."""
    for path in sorted((root / "data").rglob("*")):
        kept = path.name not in (".gitignore", "README.md", "published.json") and "durations" not in path.parts
        if path.is_file() and kept:
            yield str(path.relative_to(root)), hashlib.sha256(path.read_bytes()).hexdigest()


def _other(first: dict[str, str], second: dict[str, str]) -> int:
    return len(dict(first.items() ^ second.items()))


def _away(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
