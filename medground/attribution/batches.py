"""Cases that go through the model together: the same words about films of one size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .method import Attribution, Item

if TYPE_CHECKING:
    from torch import Tensor

    from ..lvlm import LVLM, Text

Work = Callable[..., Iterable]  # canvas [B, h, w] and text in, B results out


def map_cases(lvlm: LVLM, items: Sequence[Item], work: Work) -> list:
    """``work`` over all items, in batches that share text and size and fit the device's memory; one result per item."""
    groups = defaultdict(list)
    for number, item in enumerate(items):
        groups[item.prompt, item.answer, item.film.shape].append(number)
    results: list = [None] * len(items)
    for (prompt, answer, (height, width)), numbers in groups.items():
        text = lvlm.text(prompt, answer, width, height)

        def batch(some: list[int], text=text) -> list:
            return list(work(lvlm.canvas([items[number].film for number in some]), text))

        done = [result for results in lvlm.chunked(batch, numbers) for result in results]
        for number, result in zip(numbers, done, strict=True):
            results[number] = result
    return results


def on_grid(lvlm: LVLM, item: Item, values: Tensor | np.ndarray, **more: Any) -> Attribution:
    """An attribution with one value per image token, ``[N]`` in row-major order."""
    height, width = item.film.shape
    grid = np.asarray(values, np.float64).reshape(lvlm.grid(width, height))
    return Attribution(item.case_id, grid, lvlm.letterbox(width, height).extent, **more)


def log_likelihood(logits: Tensor, text: Text) -> Tensor:
    """Log-probability of the whole answer, ``[B]``, from logits ``[B, T, V]`` of the rows that predict it."""
    tokens = text.input_ids[0, text.answer]
    picked = logits.float().log_softmax(-1).gather(-1, tokens.expand(len(logits), -1)[..., None])
    return picked.sum((1, 2))
