"""Walk the way of an author and of somebody with a model, with nothing but the package and the name of the dataset.

    python scripts/from_anywhere.py --data data            an environment of its own, installed from the package index
    python scripts/from_anywhere.py --data data --light    the packages that are here, and of medground the wheel alone

Publishes the dataset and its models to a Hub on loopback (`tests/hub/server.py`, which the real clients take for the
Hub), then works in an empty folder without the repository: loads every config, whole and streamed, runs the notebook,
validates, scores and submits what it made, and evaluates a model. Prints what each step took and what it downloaded,
and ends with 1 where a step does.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/hub"))
from server import HubServer  # noqa: E402

DATASET, TAG = "org/medground", "v1"
NAME = f"{DATASET}@{TAG}"
EXPORT = """
import sys
from medground.hub import folder
from medground.hub.about import NORMAL
data, out, models = sys.argv[1:]
folder.build(data, out, models=models, normal=NORMAL)
"""
CONFIGS = """
import json, sys
import datasets
name, tag = sys.argv[1:]
for config in datasets.get_dataset_config_names(name, revision=tag):
    whole = datasets.load_dataset(name, config, revision=tag)
    streamed = datasets.load_dataset(name, config, revision=tag, streaming=True)
    counts = {split: len(rows) for split, rows in whole.items()}
    assert counts == {split: sum(1 for _ in rows) for split, rows in streamed.items()}, config
    print(config, counts)
"""


@dataclass
class Way:
    """Steps, one after the other, in one folder and one environment."""

    python: Path
    folder: Path
    hub: str
    rows: list[tuple[str, float, float]] = field(default_factory=list)

    def step(self, name: str, *words: str, token: str = "", folder: Path | None = None) -> str:
        """Run a program of the environment and note what it took; ends the walk where it fails."""
        before, start = _size(self.folder.parent / "home"), time.monotonic()
        how = {"cwd": folder or self.folder, "env": self._environment(token)}
        done = subprocess.run([self.python, *words], **how, capture_output=True, text=True)
        took = time.monotonic() - start
        if done.returncode or "Traceback" in done.stderr:
            raise SystemExit(f"{name}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        self.rows.append((name, took, (_size(self.folder.parent / "home") - before) / 1e6))
        return done.stdout

    def medground(self, name: str, *words: str, **how) -> str:
        """A command of the package."""
        return self.step(name, "-c", "from medground.cli import main; main()", *words, **how)

    def _environment(self, token: str) -> dict[str, str]:
        home = self.folder.parent / "home"
        return {
            "PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": self.hub,
            "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "MEDGROUND_CACHE": str(home / "medground"), "MEDGROUND_DATA": NAME,
            **({"HF_TOKEN": token} if token else {}),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="the pipeline's tables")
    parser.add_argument("--light", action="store_true", help="use the packages of this environment")
    parser.add_argument("--anyway", action="store_true", help="evaluate on films that are no chest, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, HubServer() as server:
        for line in walk(Path(made), server.url, options.data.resolve(), options.light, options.anyway):
            print(line, flush=True)


def walk(place: Path, hub: str, data: Path, light: bool, anyway: bool) -> Iterator[str]:
    """All steps in the folder ``place``; what is worth reading of each, and then the table."""
    (place / "home").mkdir()
    (place / "empty").mkdir()
    start = time.monotonic()
    python = environment(place / "environment", wheel(place / "wheel"), light)
    installed = time.monotonic() - start, _size(place / "environment") / 1e6
    here, way = (Way(which, place / "empty", hub) for which in (Path(sys.executable), python))
    models = publish(here, place, data)
    shutil.rmtree(place / "home")  # what publishing had to download
    (place / "home").mkdir()

    yield way.step("every config, whole and streamed", "-c", CONFIGS, DATASET, TAG)
    yield way.step("the notebook: explain all cases, write, check, score", "-c", notebook())
    yield way.medground("`medground validate`", "validate", "my-entry", "--data", NAME)
    yield way.medground("`medground score`", "score", "my-entry", "--data", NAME)
    yield way.medground("`medground submit`", "submit", "my-entry", "--data", NAME)
    way.medground("`medground board`", "board", "--data", NAME)
    words = ["evaluate", models[0], "--data", NAME, "--mode", "direct", *["--anyway"] * anyway]
    yield way.medground("`medground evaluate`, one model, one mode", *words)

    yield "| step | seconds | MB downloaded |\n|---|---|---|"
    if not light:
        yield f"| `pip install 'medground[run,hub]'` | {installed[0]:.0f} | {installed[1]:,.0f} installed |"
    for name, took, size in way.rows:
        yield f"| {name} | {took:.0f} | {size:,.1f} |"


def publish(here: Way, place: Path, data: Path) -> list[str]:
    """The models of the cases and the dataset that pins them, sent to the Hub; the names of the models."""
    from medground.scoring.tables import load_cases

    models = sorted({case["model"] for case in load_cases(data)})
    (place / "models").mkdir()
    for path in (ROOT / "models").iterdir():
        if path.name.split(".")[0] in models:
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, place / "models" / path.name)
    asked = [word for model in models for word in ("--model", model)]
    where = ["--models", str(place / "models"), "--org", "org", "--dataset", DATASET]
    here.medground("models", "publish-models", *where, *asked, token="hf_owner")
    here.step("export", "-c", EXPORT, str(data), str(place / "hub"), str(place / "models"), folder=ROOT)
    sent = ["--repo", DATASET, "--folder", str(place / "hub"), "--tag", TAG, "--yes"]
    here.medground("dataset", "publish", *sent, token="hf_owner")
    return models


def wheel(out: Path) -> Path:
    """The package as it is distributed: of the repository, what git knows of it."""
    source = out / "source"
    told = subprocess.run(["git", "-C", ROOT, "ls-files", "medground", "pyproject.toml", "README.md", "LICENSE"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    for name in told.stdout.split():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", out, source)
    (found,) = out.glob("medground-*.whl")
    return found


def environment(home: Path, wheel: Path, light: bool) -> Path:
    """The Python of a new environment with the wheel, and what it asks for: installed, or what is here (``light``)."""
    venv.create(home, with_pip=True)
    python = home / "bin/python"
    if light:
        pip(python, "install", "--no-deps", wheel)
        (found,) = home.glob("lib/python*/site-packages")
        (found / "packages.pth").write_text("\n".join(site.getsitepackages()))
    else:
        constraints = ROOT / "constraints.txt"
        pip(python, "install", "--constraint", constraints, f"medground[run,hub] @ {wheel.as_uri()}")
    return python


def notebook() -> str:
    """The code of the notebook, but for what installs."""
    cells = json.loads((ROOT / "examples/from_anywhere.ipynb").read_text())["cells"]
    code = [cell["source"] for cell in cells if cell["cell_type"] == "code" and cell["id"] != "install"]
    return "\n".join("".join(lines) for lines in code)


def pip(python: Path | str, *words: Path | str) -> None:
    """Run pip of an interpreter; RuntimeError with what it said where it fails."""
    told = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(told, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])


def _size(folder: Path) -> int:
    """Bytes of the files below a folder; a link counts nothing."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    main()
