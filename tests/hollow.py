"""The pipeline of dvc.yaml with hollow stages: a repository in which all is as DVC sees it, and nothing is computed.

Two stages are real, `code` and `checkpoints`. Each other one writes its outputs at once: a line that names the output
and a digest of what the stage depends on, so that what would come out another does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import yaml

ROOT = Path(__file__).parents[1]
REAL = ("code", "checkpoints")
STUB = """
import hashlib, itertools, os, sys
from pathlib import Path
import yaml

stage, *item = sys.argv[1:]
values = yaml.safe_load(Path("params.yaml").read_text())
described = yaml.safe_load(Path("dvc.yaml").read_text())["stages"][stage]

def filled(text):
    for key in described.get("matrix", {}):
        text = text.replace("${item.%s}" % key, item[0])
    return text

def content(path):
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return b"".join(str(file).encode() + file.read_bytes() for file in files)

seen = hashlib.sha256(repr([values[key.split(".")[0]] for key in described.get("params", [])]).encode())
for dep in described["deps"]:
    seen.update(content(Path(filled(dep))))
others = yaml.safe_load(Path("dvc.yaml").read_text())
asked = [dep for other in others["stages"].values() for dep in other["deps"] if "$" not in dep] + others["plots"]
more = {
    "data/raw": [f"{source}.json" for source in values["sources"]],
    "data/board": ["board.parquet", "board.json"],
}

def within(folder):
    # the files that other stages want of an output, and those that are looked for here
    named = [dep.removeprefix(f"{folder}/") for dep in asked if dep.startswith(f"{folder}/")]
    return [*named, *more.get(str(folder), [])] or ["table.parquet"]

with open(".log", "a") as log:
    print("@".join([stage, *item]), file=log)
for out in [*described.get("outs", []), *described.get("metrics", [])]:
    path = Path(filled(next(iter(out)) if isinstance(out, dict) else out))
    files = [path / name for name in within(path)] if not path.suffix else [path]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        told = "the same" if str(path) == "data/raw" else seen.hexdigest()
        line = f"{file} of the profile {values['profile']}: {told}"
        file.write_text('{"number": 1}' if file.suffix == ".json" and "metrics" in file.name else line)
"""


def build(root: Path, profile: str = "phantom") -> Path:
    """A git repository at ``root`` with the hollow pipeline, nothing made yet."""
    for folder in ("medground", "stages", "models", "profiles"):
        copytree(ROOT / folder, root / folder, ignore=ignore_patterns("__pycache__"))
    (root / "submissions").mkdir()
    (root / "submissions" / "README.md").write_text("Entries\n")
    (root / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "data/.gitignore"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes((ROOT / name).read_bytes())
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for name, stage in pipeline["stages"].items():
        if name not in REAL:
            item = "".join(f" ${{item.{key}}}" for key in stage.get("matrix", {}))
            stage["cmd"] = f"python stub.py {name}{item}"
    (root / "dvc.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    (root / "stub.py").write_text(STUB)
    (root / ".gitignore").write_text((root / ".gitignore").read_text() + ".log\n")
    use(root, profile)
    run(root, "git", "init", "--quiet", "--initial-branch", "main")
    commit(root, "A hollow pipeline")
    return root


def use(root: Path, profile: str, **changes) -> None:
    """Make a profile the active one, with some of its keys changed."""
    values = yaml.safe_load((root / "profiles" / f"{profile}.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump(values | changes, sort_keys=False))


def repro(root: Path) -> list[str]:
    """`dvc repro`; which stages ran, hollow ones by their own log, the others by DVC's."""
    (root / ".log").unlink(missing_ok=True)
    said = run(root, "dvc", "repro")
    hollow = (root / ".log").read_text().split() if (root / ".log").exists() else []
    return [stage for stage in REAL if f"Running stage '{stage}'" in said] + hollow


def commit(root: Path, message: str) -> None:
    run(root, "git", "add", "--all")
    run(root, "git", "-c", "user.name=n", "-c", "user.email=e@x", "commit", "--quiet", "-m", message)


def run(root: Path, *command: str, check: bool = True) -> str:
    """Run a command in the repository, its own package first; what it printed. AssertionError where it fails."""
    environment = os.environ | {"PYTHONPATH": str(root), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
