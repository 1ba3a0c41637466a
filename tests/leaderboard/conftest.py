import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))  # the app is run from here, not installed


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """A repository with a small, complete `data/`; nobody writes to it."""
    from tests.leaderboard.fixture import build

    return build(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def root(tree, monkeypatch) -> Path:
    """The same as what the app shows."""
    monkeypatch.setenv("MEDGROUND_ROOT", str(tree))
    return tree


@pytest.fixture(autouse=True)
def main_module(monkeypatch):
    """A page that is run in this process leaves itself as its main module, which any worker would then run again."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
