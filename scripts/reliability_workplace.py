"""The place where the pipeline is broken on purpose: a copy of this repository with few patients."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from medground import files

ROOT = Path(__file__).parents[1]
SMALL = {
    "sources": ["phantom_lesion"],
    "models": ["phantom-gemma3"],
    "methods": ["gradcam", "random", "center_box", "whole_film"],
    "engine": {"name": "local", "workers": 2, "batch_size": 2, "idle": 60},
}


class Workplace:
    """A copy of the repository, with few patients, in which the pipeline ran to its end, undisturbed.

    It lies in ``<folder>/copy``, on a file system of its own where this user may mount one, so that its disk can be
    filled. ``found`` is what was measured so far; `keep` stores it.
    """

    def __init__(self, folder: Path, log: Callable[[str], None]) -> None:
        self.base, self.folder, self.log = folder, folder / "copy", log
        self._kept = folder / "found.json"
        self.found: dict = files.read_json(self._kept) if self._kept.exists() else {}
        if folder.exists() and not self.found:
            sys.exit(f"{folder} is there already, and this script did not make it; remove it")
        if self.found.get("of") == _digest() and (self.folder / "dvc.yaml").exists():
            log(f"going on in {folder}")
        else:
            self.remove()
            self.folder.mkdir(parents=True)
            self.found = {"of": _digest(), "full_disk": self._mount()}
            self.keep()
            self._fill()
            log(f"a copy of the repository with few patients is in {self.folder}")
        self.made("score", "data/scores/scores.parquet")

    def made(self, stage: str = "", proof: str = "data/hub/README.md") -> None:
        """Run the pipeline, undisturbed, to a stage or to its end; nothing happens where that was done."""
        if (self.folder / proof).exists():
            return
        self.log(f"the undisturbed run{f' to {stage}' if stage else ''}")
        said = self.run("dvc", "repro", "--no-run-cache", *filter(None, [stage]))
        if not (self.folder / proof).exists():
            sys.exit(f"the undisturbed run failed:\n{said}")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "Made")

    def keep(self) -> None:
        """Store what was measured."""
        files.write_json(self.found, self._kept)

    def run(self, *command: str, where: Path | None = None) -> str:
        """What a command prints that is run in the copy, or in a clone of it."""
        where = where or self.folder
        done = subprocess.run(command, cwd=where, env=environment(where), capture_output=True, text=True, check=False)
        return done.stdout + done.stderr + (f"\n(exit {done.returncode})" if done.returncode else "")

    def remove(self) -> None:
        """Take the file system and the folder away."""
        if self.folder.is_mount():
            subprocess.run(["umount", "-l", str(self.folder)], capture_output=True, check=False)
        shutil.rmtree(self.base, ignore_errors=True)

    def _mount(self) -> bool:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(self.folder)]
        made = shutil.which("mount") and not subprocess.run(mount, capture_output=True, check=False).returncode
        if not made:
            self.log("no file system of its own could be mounted (root may): a full disk is not tried")
        return bool(made)

    def _fill(self) -> None:
        """Copy what git has, and the CT where it is here."""
        for name in _tracked():
            if not name.startswith(("tests/", "submissions/")):
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)
        (self.folder / "submissions").mkdir(exist_ok=True)
        (self.folder / "submissions" / ".gitkeep").touch()
        (self.folder / "dvc.lock").unlink(missing_ok=True)
        if (ROOT / "data/raw/ct").is_dir():
            shutil.copytree(ROOT / "data/raw/ct", self.folder / "data/raw/ct")
        values = yaml.safe_load((self.folder / "params.yaml").read_text()) | SMALL
        values["phantom"] |= {"patients": 6, "films_per_patient": 3, "references": 2, "test_share": 0.5}
        values["answer"] |= {"batch_size": 4}
        values["faithfulness"] |= {"cases": 1}
        values["sanity"] |= {"cases": 1}
        values["rank"] |= {"resamples": 100}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
        self.run("git", "init", "--quiet", "--initial-branch", "main")
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "A small project")


def environment(folder: Path) -> dict[str, str]:
    """For commands that run in a copy: its code, this Python, one thread."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    who = {
        f"GIT_{role}_{what}": "reliability@example.org"
        for role in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    return os.environ | who | {"PYTHONPATH": str(folder), "PATH": path, "OMP_NUM_THREADS": "1"}


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def _digest() -> str:
    """Of the code and the models that the copy is made of: another one is measured anew."""
    digest = hashlib.sha256(json.dumps(SMALL).encode())
    for name in _tracked():
        if name.startswith(("medground/", "stages/", "models/", "dvc.yaml")):
            digest.update(name.encode() + (ROOT / name).read_bytes())
    return digest.hexdigest()
