"""`medground reproduced` on a small DVC pipeline of its own; DVC itself is the truth about hashes."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from medground import records, reproduced
from medground.cli.app import app

SCHEMA = pa.schema([pa.field("item", pa.int64(), False), pa.field("square", pa.float64(), False)])
PIPELINE = """
stages:
  table: {cmd: python make.py, deps: [make.py], outs: [table.parquet, folder, note.txt]}
"""
MAKE = """
from pathlib import Path
Path("folder/deep").mkdir(parents=True, exist_ok=True)
Path("folder/b.txt").write_text("b")
Path("folder/deep/a.txt").write_text("a")
Path("note.txt").write_text("one\\ntwo\\n")
Path("table.parquet").write_bytes(Path("stored.parquet").read_bytes())
"""


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write([1.0, 4.0, 9.0], "stored.parquet")
    Path("dvc.yaml").write_text(PIPELINE)
    Path("make.py").write_text(MAKE)
    run("git", "init", "-q")
    run(sys.executable, "-m", "dvc", "init", "-q")
    run(sys.executable, "-m", "dvc", "repro", "-q")
    run("git", "add", "-A")
    run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "lock")
    return tmp_path


def write(squares, path):
    rows = [{"item": number, "square": square} for number, square in enumerate(squares, 1)]
    records.write_table(rows, SCHEMA, path)


def said():
    done = CliRunner().invoke(app, ["reproduced"])
    return done.exit_code, done.output, str(done.exception)


def test_what_dvc_made_is_reproduced(repository):
    code, output, _ = said()
    assert code == 0 and "3 of 3 outputs" in output
    assert "other" not in output


def test_the_first_difference_is_named(repository):
    write([1.0, 4.0, 9.5], "table.parquet")
    Path("folder/deep/a.txt").write_text("A")
    Path("note.txt").write_text("one\nTwo\n")
    code, output, error = said()
    assert code != 0 and "of the stage table" in error
    lines = {line.split()[1].rstrip(":"): line for line in output.splitlines() if line.startswith("other")}
    assert "column square, row 2: 9.5, in the lock 9.0" in lines["table.parquet"]
    assert "deep/a.txt: line 1" in lines["folder"]
    assert lines["note.txt"].endswith("line 2")


def test_missing_and_further_files_are_named(repository):
    Path("note.txt").unlink()
    Path("folder/c.txt").write_text("c")
    _, output, _ = said()
    assert "missing note.txt" in output and "c.txt is not in the lock" in output
    Path("folder/b.txt").unlink()
    assert "b.txt is missing" in said()[1]


def test_without_a_cache_it_says_what_it_cannot_tell(repository):
    run("rm", "-rf", ".dvc/cache")
    Path("note.txt").write_text("other")
    code, output, _ = said()
    assert code != 0
    assert "note.txt: the cache of this machine does not hold what the lock names" in output
    assert "2 of 3" in output


def test_a_stage_that_is_gone_from_the_pipeline_does_not_count(repository):
    gone = (
        "  gone@a-b:\n    cmd: 'true'\n    outs:\n    - path: gone.txt\n      md5: 0cc175b9c0f1b6a831c399e269772661\n"
    )
    Path("dvc.lock").write_text(Path("dvc.lock").read_text() + gone)
    run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "a stage of old")
    code, output, _ = said()
    assert code == 0 and "3 of 3 outputs" in output and "gone" not in output


def test_without_a_pipeline_it_says_where_to_run(repository):
    Path("dvc.yaml").write_text("stages: [")
    assert "`dvc stage list` fails" in said()[2]


def test_digests_are_those_of_dvc(repository):
    lock = Path("dvc.lock").read_text()
    assert all(reproduced.digest(Path(name)) in lock for name in ("table.parquet", "folder", "note.txt"))


def test_a_repository_without_a_lock_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "git has no dvc.lock at HEAD" in said()[2]
