"""The wheel, with the core alone, in a clean environment outside the repository: write, validate, score, board."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "leaderboard"))
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import fixture
import from_anywhere

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "diffusers", "dvc", "ray", "streamlit", "datasets", "nibabel")
WRITE = """
import sys
import numpy as np
from medground import submission
from medground.scoring.tables import load_cases

cases = load_cases("data")
rng = np.random.default_rng(0)
submission.write(
    "my-entry", maps={case["case_id"]: rng.random((12, 10)) for case in cases}, method="Noise", version="1",
    authors=["A. Author"], licence="CC0-1.0", hardware="none", models=sorted({case["model"] for case in cases}),
    modes=["direct", "reasoning"], used_test_regions=False, trained_on_sources=False,
)
print(len(cases), "cases", sorted(name for name in sys.argv[1:] if name in sys.modules))
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return from_anywhere.wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def core(wheel, tmp_path_factory):
    """The command ``medground`` of an environment that holds the wheel and what it requires."""
    home = tmp_path_factory.mktemp("core")
    venv.create(home, with_pip=True)
    constraints = ["--constraint", ROOT / "constraints.txt"] if (ROOT / "constraints.txt").is_file() else []
    from_anywhere.pip(home / "bin/python", "install", *constraints, wheel)
    return home / "bin"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that is no repository, with the tables of the benchmark."""
    root = fixture.build(tmp_path_factory.mktemp("outside"), patients=8)
    (root / "params.yaml").unlink()
    return root


def run(folder, *words, code=0):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(words, cwd=folder, env=environment | {"COLUMNS": "200"}, capture_output=True, text=True)
    assert done.returncode == code and "Traceback" not in done.stderr, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def test_the_wheel_is_typed_and_holds_the_package_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "medground/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"medground"}


def test_an_entry_from_writing_to_its_place_on_the_board(core, folder):
    there = json.loads(run(folder, core / "python", "-m", "pip", "list", "--format", "json"))
    assert not {package["name"].lower() for package in there} & set(HEAVY)
    (folder / "write.py").write_text(WRITE)
    assert run(folder, core / "python", "write.py", *HEAVY).endswith("cases []\n")
    assert "no problems" in run(folder, core / "medground", "validate", "my-entry")
    assert "this entry" in run(folder, core / "medground", "score", "my-entry", "--split", "dev")
    assert "medfocus" in run(folder, core / "medground", "board", "--split", "test")
    assert "phantom_region: Phantom" in run(folder, core / "medground", "sources")


def test_what_the_core_lacks_is_named(core, folder):
    asked = ("--question", "?", "--model", "phantom-gemma3", "--out", "x")
    film = next((folder / "data/samples").rglob("*.png"))
    said = run(folder, core / "medground", "attribute", film, *asked, code=1)
    assert "pip install 'medground[run]'" in said
    said = run(folder, core / "medground", "publish", "--repo", "a/b", "--folder", "data", "--dry-run", code=1)
    assert "pip install 'medground[hub]'" in said


def test_outside_the_repository_nobody_is_sent_in_circles(core, folder):
    said = run(folder, core / "medground", "export", code=1)
    assert "clone of the repository" in said and "medground profile" in said
    said = run(folder, core / "medground", "profile", "phantom", code=1)
    assert "clone of the repository" in said and "medground profile" not in said
