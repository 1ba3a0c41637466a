"""Folders that commands make: what somebody else made stays as it is, whatever goes wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medground import folders
from medground.errors import MedgroundError


def make(out: Path, **files: str) -> None:
    with folders.rebuilt(out, "medground export") as partial:
        for name, text in (files or {"a": "1"}).items():
            (partial / name).write_text(text)


def test_absent_empty_and_own_folders_are_made_again(tmp_path):
    out = tmp_path / "deep/out"
    make(out, a="1", b="2")
    make(out, a="3")
    assert sorted(os.listdir(out)) == [folders.MARK, "a"] and (out / "a").read_text() == "3"
    (tmp_path / "empty").mkdir()
    make(tmp_path / "empty")
    assert sorted(os.listdir(tmp_path)) == ["deep", "empty"] and os.listdir(tmp_path / "deep") == ["out"]


def snapshot(root: Path) -> dict:
    return {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("precious", r"precious holds what `medground export` did not make \(thesis.txt\)"),
        ("nested", "nested holds what .* did not make .deep/thesis.txt"),
        ("hollow", "hollow holds what .* did not make .empty/"),
        ("file", "file is not a folder; name a folder that does not exist yet"),
        ("file/out", "file/out cannot be made: .*file is not a folder"),
        ("link", "link is a link"),
        ("dangling", "dangling is a link"),
        (".", r"\. is the working folder, or holds it"),
        ("..", "is the working folder, or holds it"),
        ("fifo", "fifo is not a folder"),
        ("forged", "forged holds what .* did not make ..medground and 1 more"),
        ("other", "other holds what .* did not make .*.medground"),
        ("/proc/medground", "/proc/medground cannot be written"),
        ("/proc/version/out", "cannot be made: /proc/version is not a folder"),
        ("/dev/null", "/dev/null is not a folder"),
    ],
)
def test_everything_else_is_refused_and_untouched(tmp_path, monkeypatch, out, message):
    monkeypatch.chdir(tmp_path)
    for name in ("precious", "nested/deep", "hollow/empty", "forged", "other"):
        Path(name).mkdir(parents=True)
    for name in ("precious/thesis.txt", "nested/deep/thesis.txt", "file", "forged/thesis.txt", "other/a"):
        Path(name).write_text("years of work")
    Path("forged/.medground").write_text('{"made_by": 3, "files": [[]]}')
    Path("other/.medground").write_bytes(folders.mark(Path("other"), "medground attribute"))
    Path("link").symlink_to("precious")
    Path("dangling").symlink_to("nowhere")
    os.mkfifo("fifo")
    before = snapshot(tmp_path)
    with pytest.raises(MedgroundError, match=message):
        make(Path(out))
    assert snapshot(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_folder_is_refused(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(MedgroundError, match=r"cannot be written .Permission denied"):
        make(tmp_path / "locked/out")


def test_what_cannot_be_written_is_said(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folders.tempfile, "mkdtemp", refused)
    with pytest.raises(MedgroundError, match=r"out cannot be written \(Permission denied\)"):
        make(tmp_path / "out")


def test_an_own_folder_with_something_added_is_kept(tmp_path):
    make(tmp_path / "out")
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(MedgroundError, match=r"did not make .notes\.txt"):
        make(tmp_path / "out")
    assert (tmp_path / "out/notes.txt").read_text() == "mine"


def test_a_failure_leaves_what_was_there(tmp_path):
    make(tmp_path / "out", a="1")
    with pytest.raises(ZeroDivisionError), folders.rebuilt(tmp_path / "out", "medground export") as partial:
        (partial / "a").write_text("2")
        raise ZeroDivisionError
    assert (tmp_path / "out/a").read_text() == "1" and os.listdir(tmp_path) == ["out"]


def test_what_came_meanwhile_is_kept(tmp_path):
    with pytest.raises(MedgroundError, match="did not make"), folders.rebuilt(tmp_path / "out", "medground export"):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/thesis.txt").write_text("mine")
    assert (tmp_path / "out/thesis.txt").read_text() == "mine"


def test_the_old_folder_is_back_where_the_swap_fails(tmp_path, monkeypatch):
    make(tmp_path / "out", a="1")
    rename, calls = os.rename, []

    def second_fails(*places):
        calls.append(places)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(*places)

    monkeypatch.setattr(folders.os, "rename", second_fails)
    with pytest.raises(MedgroundError, match="Input/output error"):
        make(tmp_path / "out", a="2")
    assert (tmp_path / "out/a").read_text() == "1" and os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs the users of a Unix system")
def test_the_private_folder_is_this_users_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(folders.tempfile, "tempdir", str(tmp_path))
    made = folders.private()
    assert made.parent == tmp_path and made.stat().st_mode & 0o777 == 0o700 and folders.private() == made
    made.chmod(0o755)
    with pytest.raises(MedgroundError, match="not a folder of this user alone; set TMPDIR"):
        folders.private()
    made.chmod(0o700)
    made.rename(tmp_path / "elsewhere")
    made.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MedgroundError, match="not a folder of this user alone"):
        folders.private()
    made.unlink()
    made.write_text("a file")
    with pytest.raises(MedgroundError, match="cannot be made"):
        folders.private()
