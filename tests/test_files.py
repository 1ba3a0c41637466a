"""Files are whole or absent, and what is damaged is named with a remedy."""

import errno
import os
from pathlib import Path

import pytest

from medground import files
from medground.errors import MedgroundError
from medground.verification.causes import controls


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "a.json"
    files.write_json({"a": [1]}, path)
    before = path.read_text()

    def full(self, content):
        with open(self, "wb") as file:
            file.write(content[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MedgroundError, match=r"a\.json cannot be written.*No space left.*same command again"):
        files.write_json({"a": [2]}, path)
    assert path.read_text() == before and os.listdir(path.parent) == ["a.json"]


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path):
    for process in (2**22 + 1, os.getpid()):  # no process has the first number
        (tmp_path / f".a[1].json.{process}.partial").touch()
    (tmp_path / f".b.json.{2**22 + 1}.partial").touch()
    files.write("whole", tmp_path / "a[1].json")
    assert sorted(os.listdir(tmp_path)) == [f".b.json.{2**22 + 1}.partial", "a[1].json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000])
def test_damaged_json_is_named(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_bytes(content)
    with pytest.raises(MedgroundError, match=r"a\.json (is not JSON|holds a list).*run `dvc repro`"):
        files.read_json("a.json")


def test_a_pull_is_advised_only_where_there_is_a_remote(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "dvc pull" not in files.remedy("data/a.parquet")
    Path(".dvc").mkdir()
    Path(".dvc/config").write_text("[core]\n    analytics = false\n")
    assert "dvc pull" not in files.remedy("data/a.parquet")
    Path(".dvc/config.local").write_text("['remote \"here\"']\n    url = /data/100%\n")
    assert "`dvc pull`" in files.remedy("data/a.parquet")
    assert "git checkout models/m/config.json" in files.remedy("models/m/config.json")


def test_shortcut_answers_never_become_honest_by_a_lost_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("models/phantom-shortcut")
    folder.mkdir(parents=True)
    with pytest.raises(MedgroundError, match=r"phantom-shortcut/medground\.json is missing; `git checkout"):
        controls("phantom-shortcut")
    (folder / "medground.json").write_text("{")
    with pytest.raises(MedgroundError, match=r"phantom-shortcut/medground\.json is not JSON"):
        controls("phantom-shortcut")
    (folder / "medground.json").write_text('{"known_causes": true}')
    with pytest.raises(MedgroundError, match=r"phantom-shortcut\.causes\.json is missing"):
        controls("phantom-shortcut")
    assert controls("medgemma_4b") == {}
