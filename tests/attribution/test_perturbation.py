"""Occlusion and RISE against Captum, closed forms and invariances."""

from __future__ import annotations

import numpy as np
import torch
from captum.attr import Occlusion

from medground.attribution import Item, by_entry, method
from medground.attribution.builtin.perturbation import rise_map
from medground.geometry import Letterbox
from medground.lvlm.base import Text


class Tiles:
    """A 64 x 32 canvas; p of the only token is the mean over the 8 x 8 tiles of weight times mean gray."""

    def __init__(self, weight):
        self.weight = torch.as_tensor(weight, dtype=torch.float32)

    def letterbox(self, width, height):
        return Letterbox.stretch(width, height, 32, 64)

    def canvas(self, films):
        return torch.from_numpy(np.stack([self.letterbox(*film.shape[::-1]).apply(film) for film in films])) / 255.0

    def text(self, *_):
        return Text(torch.zeros(1, 2, dtype=int), torch.arange(1), torch.arange(1, 2), ["Yes"])

    def log_probs(self, canvas, text):
        tiles = canvas.view(-1, 8, 8, 8, 4).mean((2, 4))
        return (tiles * self.weight).mean((1, 2)).log()[:, None]


def case(film=None, name="m/direct/s/0"):
    return Item(name, np.full((64, 32), 255, np.uint8) if film is None else film, "q", "a")


WEIGHT = np.random.default_rng(0).uniform(0.1, 1, (8, 8)) ** 4


def test_occlusion_in_closed_form():
    found = method("occlusion").attribute(Tiles(WEIGHT), [case()])[0]
    assert np.allclose(found.grid, WEIGHT / 64, atol=1e-6) and found.extent == (0, 0, 32, 64)
    assert found.forwards == 65


def test_permuting_the_tiles_permutes_the_map():
    order = np.random.default_rng(1).permutation(64)
    film = np.random.default_rng(2).integers(0, 255, (8, 8)).repeat(8, 0).repeat(4, 1).astype(np.uint8)
    moved = film[::8, ::4].ravel()[order].reshape(8, 8).repeat(8, 0).repeat(4, 1)
    plain = method("occlusion").attribute(Tiles(WEIGHT), [case(film)])[0].grid
    permuted = method("occlusion").attribute(Tiles(WEIGHT.ravel()[order].reshape(8, 8)), [case(moved)])[0].grid
    assert np.allclose(permuted, plain.ravel()[order].reshape(8, 8), atol=1e-6)


def test_occlusion_equals_captum(lvlm, items):
    item = items[0]
    height, width = item.film.shape
    canvas, text = lvlm.canvas([item.film]), lvlm.text(item.prompt, item.answer, width, height)
    window = canvas.shape[1] // 8, canvas.shape[2] // 8
    assert canvas.shape[1] % 8 == 0 == canvas.shape[2] % 8
    expected = Occlusion(lambda c: lvlm.log_probs(c, text).exp().mean(1)).attribute(
        canvas, sliding_window_shapes=window, strides=window, baselines=0.0
    )[0]
    tiles = expected.view(8, window[0], 8, window[1])[:, 0, :, 0].numpy()
    assert np.allclose(method("occlusion").attribute(lvlm, [item])[0].grid, tiles, atol=1e-6)


def test_rise_map_by_hand():
    seen = np.array([[[1, 0], [1, 1]], [[1, 1], [0, 0]], [[0, 1], [0, 1]]], bool)
    score = np.array([0.9, 0.6, 0.3])
    assert np.allclose(rise_map(score, seen), np.array([[0.75, 0.45], [0.9, 0.6]]) - 0.6)
    assert not rise_map(np.full(3, 0.1), seen).any()


def test_rise_is_seeded_and_two_seeds_agree_better_than_the_papers():
    """Three tiles carry everything; the mean over many cases of the correlation between two seeds."""
    weight = np.zeros((8, 8))
    weight[2, 3] = weight[2, 4] = weight[5, 1] = 10.0
    cases = [case(name=f"m/direct/s/{n}") for n in range(20)]

    def grids(seed, **settings):
        found = by_entry("rise").with_settings(seed=seed, **settings).attribute(Tiles(weight + 0.3), cases)
        return np.stack([a.grid.ravel() for a in found])

    def agreement(**settings):
        pairs = zip(grids(1, **settings), grids(2, **settings), strict=True)
        return np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])

    assert np.array_equal(grids(1), grids(1))
    assert agreement() > agreement(normalise=False) + 0.1
    top = np.argsort(-grids(1).mean(0))[:3]
    assert {divmod(int(cell), 8) for cell in top} == {(2, 3), (2, 4), (5, 1)}


def test_rise_counts_its_forwards():
    assert by_entry("rise").attribute(Tiles(WEIGHT), [case()])[0].forwards == 65
