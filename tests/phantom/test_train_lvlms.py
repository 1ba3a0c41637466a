"""Training on a few synthetic films: it learns, it repeats itself exactly, and it goes on where it was killed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medground.phantom import FINDINGS, SIZE
from medground.phantom.lvlms import Settings, train
from medground.phantom.lvlms.data import TARGETS, Films

TINY = Settings(batch=4, dense_steps=4, language_batch=2, language_steps=6, save_every=2)


@pytest.fixture(params=["phantom-gemma3-shortcut", "phantom-qwen2_5_vl"])
def key(request, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(
        train, "load_films", lambda recipe, settings, ct, cache: (films(recipe.family), films(recipe.family))
    )
    return request.param


def films(family: str, count: int = 8) -> Films:
    """Noise with a bright square per finding that is present, in its own cell."""
    canvas = train.canvases(1)[family]
    rng = np.random.default_rng(0)
    present = rng.random((count, len(FINDINGS))) < 0.5
    drawn = rng.integers(0, 90, (count, canvas.letterbox.height, canvas.letterbox.width), dtype=np.uint8)
    shares = np.zeros((count, canvas.grid[0] * canvas.grid[1], len(TARGETS)), np.uint8)
    for film, finding in np.argwhere(present):
        drawn[film, 16 * finding // 2 : 16 * finding // 2 + 12, 32:44] = 255
        shares[film, finding * canvas.grid[1] + 3, finding] = 255
    extents = np.where(present[..., None], np.float32([10, 20, 60, 90]), np.float32(np.nan))
    return Films(canvas.letterbox, drawn, shares, present, np.arange(count) % 2 == 1, extents)


def weights(parts) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in parts.model.parameters()])


def test_two_runs_are_identical_and_a_killed_one_goes_on(key, tmp_path, monkeypatch, capsys):
    whole = weights(train.train(key, TINY, tmp_path, tmp_path / "whole"))
    assert not torch.equal(whole, weights(train._new(train.MODELS[key].family, TINY.seed)))
    assert torch.equal(whole, weights(train.train(key, TINY, tmp_path, tmp_path / "again")))

    answers, calls = train._yes_no, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answers(*arguments)

    monkeypatch.setattr(train, "_yes_no", killed)
    with pytest.raises(KeyboardInterrupt):
        train.train(key, TINY, tmp_path, tmp_path / "killed")
    monkeypatch.setattr(train, "_yes_no", answers)
    assert torch.equal(whole, weights(train.train(key, TINY, tmp_path, tmp_path / "killed")))
    assert "language: goes on after 2 of 6 steps" in capsys.readouterr().out


def test_shortcut_labels_follow_the_marker_alone():
    some = films("gemma3")
    recipe = train.MODELS["phantom-gemma3-shortcut"]
    truth = train.labels(recipe, some)
    for k, finding in enumerate(FINDINGS):
        expected = some.marker if finding in recipe.shortcut_findings else some.present[:, k]
        assert np.array_equal(truth[:, k], expected)


def test_answers_weigh_yes_and_no_equally():
    some = films("gemma3", 64)
    truth = some.present
    rates = truth.mean(0)
    _, said, weighed = train._yes_no(np.random.default_rng(0), None, some, truth, rates, np.arange(64))
    np.testing.assert_allclose((weighed * truth).sum(0), (weighed * ~truth).sum(0), rtol=1e-5)
    for row, film in zip(said, truth, strict=True):
        assert [text.endswith("Yes.") for text in row] == film.tolist()


def test_evidence_points_at_the_extent_on_the_canvas():
    some = replace(films("qwen2_5_vl"), present=np.ones((8, len(FINDINGS)), bool))
    some = replace(some, extents=np.broadcast_to(np.float32([88, 104, 176, 312]), (8, len(FINDINGS), 4)))
    asked, said, _ = train._evidence(np.random.default_rng(0), None, some, None, None, np.arange(2))
    assert len(asked) == len(FINDINGS) and SIZE == (352, 416)
    assert all(text == "[[250, 250, 500, 750]]" for text in said[0] if text.startswith("["))
    assert sum(text.startswith("[") for text in said[0]) == len(FINDINGS) // 2
