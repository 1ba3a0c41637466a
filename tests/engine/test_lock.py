"""Locks: one holder at a time, whatever is locked and however long its name is."""

import os

import pytest

from medground.engine.lock import LOCKS, only
from medground.errors import MedgroundError

LONG = "stages attribute " + " ".join(f"--models phantom-model-{number}" for number in range(200))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("what", ["data/scores/scores.parquet", "stages answer --model a", LONG, "Ä" * 300])
def test_a_second_holder_is_refused_and_told_who_the_first_is(what):
    with only(what), pytest.raises(MedgroundError, match=f"at work already in process {os.getpid()}"), only(what):
        pass
    with only(what):
        pass


def test_long_names_fit_the_file_system_and_do_not_meet():
    with only(f"{LONG} --seed 1"), only(f"{LONG} --seed 2"), only(LONG):
        names = {path.name for path in LOCKS.iterdir()}
    assert len(names) == 6  # a lock, and who holds it
    assert max(len(os.fsencode(name)) for name in names) <= 255
