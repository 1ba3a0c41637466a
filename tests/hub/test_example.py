"""The example script and the notebook on a folder of the dataset, each in a process of its own, as authors run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medground.hub import folder
from medground.scoring.tables import load_cases

ROOT = Path(__file__).parents[2]
NOTEBOOK = json.loads((ROOT / "examples/from_anywhere.ipynb").read_text())


@pytest.fixture
def place(phantom_tree, tmp_path):
    """A folder with the dataset, and the models that it names."""
    folder.build(phantom_tree / "data", tmp_path / "hub", normal="phantom_region")
    os.symlink(ROOT / "models", tmp_path / "models")
    return tmp_path


def run(place: Path, *words: str) -> str:
    environment = {**os.environ, "HF_HOME": str(place / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT),
                   "MEDGROUND_CACHE": str(place / "cache"), "MEDGROUND_DATA": "hub"}  # fmt: skip
    done = subprocess.run([sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_script_makes_an_entry_of_both_splits_that_the_commands_take(place, phantom_tree):
    said = run(place, str(ROOT / "examples/submit.py"), "hub", "my-entry")
    assert said.startswith("no problems\n") and "this entry <-: " in said and "medfocus" in said
    command = "from medground.cli import main; main()"
    assert run(place, "-c", command, "validate", "my-entry", "--data", "hub").strip() == "no problems"
    assert "this entry" in run(place, "-c", command, "score", "my-entry", "--data", "hub")
    assert "is ready" in run(place, "-c", command, "submit", "my-entry", "--data", "hub")
    assert "medfocus" in run(place, "-c", command, "board", "--data", "hub")
    cases = load_cases(phantom_tree / "data")
    assert {case["split"] for case in cases} == {"dev", "test"}


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(place):
    code = [
        "".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code" and cell["id"] != "install"
    ]
    said = run(place, "-c", "\n".join(code))
    assert "no problems" in said and "this entry" in said


def test_script_and_notebook_have_the_same_method_of_ten_lines():
    script = (ROOT / "examples/submit.py").read_text()
    method = script[script.index("def explain") : script.index("def main")].rstrip()
    assert len([line for line in method.splitlines()[1:] if '"""' not in line]) <= 10
    assert method in "\n".join("".join(cell["source"]) for cell in NOTEBOOK["cells"])


def test_the_notebook_is_kept_without_outputs():
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)
