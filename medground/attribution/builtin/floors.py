"""Answers that look at nothing: what every method has to beat."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from ...errors import MedgroundError
from ..method import Attribution, Item
from ..registry import register


@register("random", group="floor", paper="a box anywhere", needs=("seed",))
def random(_: None, items: Sequence[Item], seed: int = 0) -> list[Attribution]:
    """A box anywhere, each side a uniform share of 0.2 to 0.7 of the film's; seeded by the case's id."""
    return [Attribution(item.case_id, boxes=[_random_box(item, seed)]) for item in items]


@register("center_box", group="floor", paper="the middle half of each side", needs=())
def center_box(_: None, items: Sequence[Item], side: Annotated[float, Field(gt=0, le=1)] = 0.5) -> list[Attribution]:
    """The middle of the film: a box with ``side`` of its width and height."""
    low, high = (1 - side) / 2, (1 + side) / 2
    return [Attribution(item.case_id, boxes=[_box(item, low, low, high, high)]) for item in items]


@register("whole_film", group="floor", paper="everything", needs=())
def whole_film(_: None, items: Sequence[Item]) -> list[Attribution]:
    """The whole film."""
    return [Attribution(item.case_id, boxes=[_box(item, 0, 0, 1, 1)]) for item in items]


@register("finding_prior", group="floor", paper="the median dev region of the finding and source", needs=("prior",))
def finding_prior(_: None, items: Sequence[Item]) -> list[Attribution]:
    """Where the finding usually is: one box for each finding and source, whatever the film shows."""
    return [_usual(item) for item in items]


@register("finding_prior_lungs", group="floor", paper="the median dev region of the finding and source, between the "
          "located lungs", needs=("prior", "concepts"))  # fmt: skip
def finding_prior_lungs(_: None, items: Sequence[Item]) -> list[Attribution]:
    """Where the finding usually is beside the lungs: the same box in the frame of the lungs, which are located."""
    return [_usual(item) for item in items]


def _usual(item: Item) -> Attribution:
    if item.prior is None:
        raise MedgroundError(f"case {item.case_id} has no prior: it is learnt from the dev split of data/samples")
    return Attribution(item.case_id, boxes=[item.prior])


def _random_box(item: Item, seed: int) -> tuple[float, float, float, float]:
    rng = np.random.default_rng([seed, zlib.crc32(item.case_id.encode())])
    size = rng.uniform(0.2, 0.7, 2)
    left, top = rng.uniform(0, 1 - size)
    return _box(item, left, top, left + size[0], top + size[1])


def _box(item: Item, x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
    height, width = item.film.shape
    return float(x1 * width), float(y1 * height), float(x2 * width), float(y2 * height)
