"""Untrained models of the real classes, and cases to ask them about."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medground.attribution import Item
from medground.phantom.lvlms.architecture import build

QUESTION = "Is there evidence of cardiomegaly in the image? Answer directly with yes or no without any explanation."
WORDS = [QUESTION, "Yes.", "No.", "The heart is wide. Yes.", "[[100, 200, 300, 400]]", "left lung, right lung"]


@pytest.fixture(scope="session", params=["gemma3", "qwen2_5_vl"])
def lvlm(request):
    """A model of either family with random weights, frozen."""
    torch.set_num_threads(1)
    return build(request.param, WORDS, seed=1).adapter(request.param)


def make_film(seed: int, height: int = 150, width: int = 130) -> np.ndarray:
    """A smooth random film, not square."""
    coarse = torch.from_numpy(np.random.default_rng(seed).uniform(20, 235, (1, 1, 6, 5)))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return fine[0, 0].clamp(0, 255).byte().numpy()


@pytest.fixture(scope="session")
def items() -> list[Item]:
    """Three cases: two that share words and size, and a third with a longer answer and another size."""
    concepts = (("left lung", (70.0, 20.0, 120.0, 110.0)), ("right lung", (10.0, 20.0, 60.0, 110.0)))
    more = (*concepts, ("cardiac silhouette", (45.0, 60.0, 95.0, 120.0)))
    return [
        Item("m/direct/s/0", make_film(0), QUESTION, "Yes.", "cardiomegaly", more, make_film(3)),
        Item("m/direct/s/1", make_film(1), QUESTION, "Yes.", "cardiomegaly", more, make_film(4)),
        Item(
            "m/reasoning/s/2",
            make_film(2, 120, 160),
            QUESTION,
            "The heart is wide. Yes.",
            "cardiomegaly",
            concepts,
            make_film(5, 120, 160),
        ),
    ]
