"""Training on a few synthetic films: it learns, it repeats itself exactly, and it goes on where it was killed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import training
from training import Killed

from medground.phantom import FINDINGS, SIZE
from medground.phantom.lvlms import Settings, train
from medground.phantom.lvlms.data import Films

TINY = Settings(batch=4, dense_steps=4, language_batch=2, language_steps=6, save_every=2)


@pytest.fixture(params=["phantom-gemma3", "phantom-qwen2_5_vl"])
def key(request, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(train, "load_films", lambda family, settings, ct, cache: (films(family), films(family)))
    return request.param


def films(family: str, count: int = 8) -> Films:
    """Every second one with the letter."""
    return replace(training.films(family, len(FINDINGS), 1, count), marks=np.arange(count)[:, None] % 2 == 1)


def weights(parts) -> torch.Tensor:
    return training.weights(parts.model)


def test_two_runs_are_identical_and_a_killed_one_goes_on(key, tmp_path, monkeypatch, capsys):
    whole = weights(train.train(key, TINY, tmp_path, tmp_path / "whole"))
    assert not torch.equal(whole, weights(train._new(train.MODELS[key], TINY.seed)))
    assert torch.equal(whole, weights(train.train(key, TINY, tmp_path, tmp_path / "again")))

    with monkeypatch.context() as during, pytest.raises(KeyboardInterrupt):
        during.setattr(train, "_yes_no", Killed(train._yes_no, 3))
        train.train(key, TINY, tmp_path, tmp_path / "killed")
    assert torch.equal(whole, weights(train.train(key, TINY, tmp_path, tmp_path / "killed")))
    assert "language: goes on after 2 of 6 steps" in capsys.readouterr().out


def test_answers_weigh_yes_and_no_equally():
    some = films("gemma3", 64)
    truth = some.present
    _, said, weighed = train._yes_no(np.random.default_rng(0), some, truth.mean(0), np.arange(64))
    np.testing.assert_allclose((weighed * truth).sum(0), (weighed * ~truth).sum(0), rtol=1e-5)
    for row, film in zip(said, truth, strict=True):
        assert [text.endswith("Yes.") for text in row] == film.tolist()


def test_evidence_points_at_the_extent_on_the_canvas():
    some = replace(films("qwen2_5_vl"), present=np.ones((8, len(FINDINGS)), bool))
    some = replace(some, extents=np.broadcast_to(np.float32([88, 104, 176, 312]), (8, len(FINDINGS), 4)))
    asked, said, _ = train._evidence(np.random.default_rng(0), some, None, np.arange(2))
    assert len(asked) == len(FINDINGS) and SIZE == (352, 416)
    assert all(text == "[[250, 250, 500, 750]]" for text in said[0] if text.startswith("["))
    assert sum(text.startswith("[") for text in said[0]) == len(FINDINGS) // 2
