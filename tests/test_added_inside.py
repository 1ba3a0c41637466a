"""One more method, model family, source and metric in the package itself: a file each, and everything follows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples/plugin/medground_example"
#: what each of them is in the package: a new file, of which examples/plugin has the text
ADDED = {
    "medground/attribution/builtin/center_surround.py": "method.py",
    "medground/lvlm/families/llava.py": "family.py",
    "medground/sources/clinic.py": "source.py",
}
METRICS = "medground/scoring/metrics.py"  # where the package's own metrics are
USED = """
import numpy as np
from benchmarks import cost
from medground import params, records
from medground.attribution import by_entry
from medground.hub import card, licences
from medground.lvlm.registry import published
from medground.ranking.board import board_columns
from medground.scoring import score_case
from medground.sources import SOURCES
from stages import code

p = params.load()
assert (p.sources, p.models, p.methods[0]) == (["clinic"], ["llava1_5_7b"], "center_surround")
assert by_entry("center_surround").configured(p).settings["sigma"] == 3.0
assert published()["llava1_5_7b"].id == "llava-hf/llava-1.5-7b-hf"
assert SOURCES.get("clinic").licence.text == "CC0-1.0" and licences.declared("clinic")
assert "clinic.example" in card._credit("clinic")
assert "center_surround" not in cost.Study(100, p).undeclared(), "its passes are known: it asks no model"
lists = code.lists(p)
assert "medground.attribution.builtin.center_surround" in lists["attribute.txt"]
assert "medground.sources.clinic" in lists["ingest/clinic.txt"]
assert "medground.lvlm.families.llava" in lists["answer.txt"]
corner = {"grid": np.eye(4).ravel(), "grid_height": 4, "grid_width": 4, "extent": None}
assert 0 < score_case(corner, 64, 64, [(0.0, 0.0, 16.0, 16.0)])["outside_share"] < 1
assert score_case(None, 64, 64, [(0.0, 0.0, 16.0, 16.0)])["outside_share"] == 1, "worse is more"
assert {"outside_share", "outside_share_low", "outside_share_high"} <= set(board_columns().names)
assert "outside_share" in records.with_metrics(records.SCORES, ["outside_share"]).names
print("everything follows")
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository's files, committed, and one of each put in."""
    folder = tmp_path_factory.mktemp("repository")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if not name.startswith(("models/", "docs/", "tests/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "as it was")
    for place, example in ADDED.items():
        (folder / place).write_text((EXAMPLES / example).read_text())
    function = (EXAMPLES / "metric.py").read_text().partition("@metric(")[2]
    with (folder / METRICS).open("a") as metrics:
        metrics.write(f"\n\n@metric({function}")
    return folder


def git(folder, *words):
    return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout


def run(folder, *words):
    environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done.stdout


def test_params_costs_cards_licences_and_tables_follow(copy):
    values = yaml.safe_load((copy / "profiles/open.yaml").read_text())
    values |= {"sources": ["clinic"], "models": ["llava1_5_7b"], "methods": ["center_surround", *values["methods"]]}
    values["attribute"] = values.get("attribute", {}) | {"center_surround": {"sigma": 3.0}}
    before = (copy / "params.yaml").read_text()
    (copy / "params.yaml").write_text(yaml.safe_dump(values))
    try:
        assert "everything follows" in run(copy, "-c", USED)
        said = {
            name: run(copy, "-c", "from medground.cli import main; main()", name) for name in ("sources", "metrics")
        }
    finally:
        (copy / "params.yaml").write_text(before)
    assert "clinic: Films of the clinic\n  licence: CC0-1.0" in said["sources"]
    assert "outside_share" in said["metrics"] and "Outside" in said["metrics"]


def test_no_other_file_is_touched(copy):
    changed = {line[3:]: line[:2].strip() for line in git(copy, "status", "--porcelain").splitlines()}
    assert changed == {**dict.fromkeys(ADDED, "??"), METRICS: "M"}
