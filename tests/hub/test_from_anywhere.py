"""The way of somebody who has the package and the name of the dataset, and no repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_everything_works_without_the_repository(phantom_tree):
    """The wheel, in an empty folder, against a Hub on loopback: load, explain, check, score, submit, evaluate."""
    words = ["--data", str(phantom_tree / "data"), "--light", "--anyway"]
    done = subprocess.run(
        [sys.executable, "scripts/from_anywhere.py", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("direct {'dev':", "questions {'dev':", "no problems", "this entry", "is ready", "grounded accuracy"):
        assert said in done.stdout, said
