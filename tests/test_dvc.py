"""The pipeline as DVC sees it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def ignored(path: str) -> bool:
    command = [sys.executable, "-m", "dvc", "check-ignore", "--quiet", path]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0


def test_running_a_stage_changes_none_of_its_dependencies():
    """Python compiles the modules that a stage imports into the folders that the stage depends on."""
    assert ignored("medground/lvlm/__pycache__/base.cpython-311.pyc")
    assert ignored("submissions/_incoming/entry/entry.yaml")
    assert not ignored("medground/lvlm/base.py") and not ignored("submissions/entry/entry.yaml")
