"""A small benchmark and entries of it."""

import numpy as np
import pytest

from medground import submission

CARD = {
    "method": "Mine",
    "version": "1.0",
    "authors": ["A. Author"],
    "licence": "CC-BY-4.0",
    "models": ["a", "b"],
    "modes": ["direct"],
    "hardware": "1x A100",
    "used_test_regions": False,
    "trained_on_sources": False,
    "link": "https://example.org/paper",
    "settings": {"layers": 4, "note": "none"},
    "claimed_iou": 0.4,
}


@pytest.fixture(autouse=True)
def free_source(monkeypatch):
    """The source of these tests lets everything leave."""
    from medground.submission import restricted, store

    real = restricted.pixels_may_leave
    monkeypatch.setattr(store, "pixels_may_leave", lambda source: source == "s" or real(source))


@pytest.fixture(scope="session")
def cases():
    """Four cases each of the models a and b on films of 320 x 256."""
    return [
        {
            "case_id": f"{model}/direct/s/{index}",
            "model": model,
            "mode": "direct",
            "source": "s",
            "finding": "effusion",
            "patient_id": f"p{index}",
            "split": "dev" if index % 2 else "test",
            "control": "honest",
            "width": 320,
            "height": 256,
            "regions": [(40.0, 64.0, 120.0, 160.0)],
        }
        for model in "ab"
        for index in range(4)
    ]


@pytest.fixture
def card():
    return dict(CARD)


@pytest.fixture
def maps(cases):
    rng = np.random.default_rng(0)
    return {case["case_id"]: rng.random((8, 10)) for case in cases}


@pytest.fixture
def entry(tmp_path, maps, card):
    """The folder of a valid entry."""
    return submission.write(tmp_path / "entry", maps=maps, **card)


@pytest.fixture
def in_process(monkeypatch):
    """Check tables in this process: for tests of what is found, not of how the reader is confined."""
    from medground.submission import validator

    def check(path, expected, cases):
        films = {case["case_id"]: (case["width"], case["height"]) for case in cases}
        return list(validator.table_problems(path, expected, films))

    monkeypatch.setattr(validator, "_in_sandbox", check)
