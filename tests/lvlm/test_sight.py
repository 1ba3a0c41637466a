"""The vision tower looks once at a film that is asked about in two modes, and says what it always says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from asked import QUESTION, SIZE
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from medground import films, images
from medground.lvlm import prompts
from medground.lvlm.sight import Sight

MODES = [prompts.prompt(QUESTION, mode) for mode in ("direct", "reasoning")]


@pytest.fixture
def paths(tmp_path):
    """Four films, two sizes."""
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate([SIZE, SIZE, SIZE[::-1], SIZE]):
        images.write_film(tmp_path / f"{number}.png", rng.integers(0, 256, (height, width), np.uint8))
    return [tmp_path / f"{number}.png" for number in range(4)]


def looked(lvlm, monkeypatch) -> list[int]:
    """How many films the vision tower sees in each of its passes."""
    seen, look = [], lvlm._sight._tower
    monkeypatch.setattr(lvlm._sight, "_tower", lambda pixels: seen.append(len(pixels)) or look(pixels))
    return seen


def asked(lvlm, paths, prompt):
    return lvlm.answer([films.read(path) for path in paths], [prompt] * len(paths), max_new_tokens=5)


def test_a_film_is_looked_at_once_for_both_modes(lvlm, paths, monkeypatch):
    passes = looked(lvlm, monkeypatch)
    apart = [asked(lvlm, paths, prompt) for prompt in MODES]
    assert sum(passes) == 2 * len(paths)
    passes.clear()
    with lvlm.looking_once():
        together = [asked(lvlm, paths, prompt) for prompt in MODES]
        assert sum(passes) == len(paths)
        asked(lvlm, paths[:1] * 3, MODES[0])
        assert sum(passes) == len(paths)
    assert together == apart  # texts and margins, to the last bit
    asked(lvlm, paths, MODES[0])  # weights may have changed since: nothing is kept
    assert sum(passes) == 2 * len(paths)


@pytest.mark.parametrize("kind", [torch.stack, tuple])
def test_features_come_back_in_order_and_only_so_many_are_kept(kind):
    passes = []

    def tower(some):
        passes.append(len(some))
        return BaseModelOutputWithPooling(pooler_output=kind([torch.full((2, 3), float(i["shown"])) for i in some]))

    shown = [np.full((4, 4), value, np.uint8) for value in range(5)]

    def seen(order):
        images = [shown[number] for number in order]
        return sight(images, [{"shown": torch.tensor(float(image[0, 0]))} for image in images]).pooler_output

    sight = Sight(tower, most_bytes=3 * 2 * 3 * 4)  # three films
    with sight.remembered():
        for order in ([0, 1, 0, 2], [2, 1], [3, 4, 0]):
            out = seen(order)
            assert isinstance(out, Tensor) == (kind is torch.stack)
            assert [int(features[0, 0]) for features in out] == order
        assert passes == [3, 2]  # 0 is still known when 3 and 4 are new
        seen([1])  # and 1, the longest unseen, is not
    assert passes == [3, 2, 1]
