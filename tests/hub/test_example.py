"""The example script on an exported folder, in a process of its own: what an author does first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hub_facts import SAMPLES

from medground.hub import folder

ROOT = Path(__file__).parents[2]


def test_load_explain_write_validate_and_score(tree, tmp_path):
    folder.build(tree / "data", tmp_path / "hub")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/submit.py"), "hub", "my-entry"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    dev = sum(index % 2 == 0 for index in range(SAMPLES - 1)) + sum(index % 2 == 0 for index in range(SAMPLES - 2))
    cases = dev * 2 * 3  # modes, open sources
    assert done.stdout.startswith("no problems\n")
    assert f"{cases} cases {{'iou': 0." in done.stdout
    assert sorted(path.name for path in (tmp_path / "my-entry").iterdir()) == ["attributions.parquet", "entry.yaml"]


def test_the_script_is_short():
    assert len((ROOT / "examples/submit.py").read_text().splitlines()) <= 40
