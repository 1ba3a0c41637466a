"""Interventions: take part of a film away and see how likely the model still is to write its answer.

Masks are applied on the device to the canvas, the gray film as the model's own preprocessing draws it, before
normalisation. Filling whole canvas pixels is exact there; a mask drawn on a native film differs from it only where the
resampling blurs the mask's border.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import MedgroundError
from ..geometry import Box, Letterbox
from ..geometry import fill as boxes_mask

if TYPE_CHECKING:
    from .base import LVLM, Text

Fill = str | float | Tensor  # a name of FILLS, a gray value, or the pixels to put there [h, w] or [M, h, w]
_PIXELS = 2**24  # canvas pixels on the device at once
_LEAST = 1e-4  # weight of the mean where no remaining pixel is near


@dataclass(frozen=True)
class Intervention:
    """One case: a canvas, the text teacher-forced on it, and the masks that each take a part away."""

    canvas: Tensor  # float32 [h, w] in [0, 1], on the device
    text: Text
    masks: np.ndarray  # bool [M, h, w]; True is taken away
    fill: Fill = "black"


def drops(lvlm: LVLM, film: np.ndarray, text: Text, masks: np.ndarray, fill: Fill = "black") -> np.ndarray:
    """What each answer token loses, log p(original) - log p(masked), in nats: float64 ``[M, T]``.

    ``film`` is uint8 ``[H, W]``, ``masks`` bool ``[M, h, w]`` on the model's canvas, ``text`` the tokenised prompt and
    answer. Costs M + 1 forwards.
    """
    original, masked = intervene(lvlm, [Intervention(lvlm.canvas([film])[0], text, masks, fill)])[0]
    return original - masked


def intervene(lvlm: LVLM, interventions: Sequence[Intervention]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each case the answer tokens' log-probabilities, untouched ``[T]`` and masked ``[M, T]``, float64.

    Cases that share text and canvas size go through the model together. A case costs M + 1 forwards.
    """
    results: list = [None] * len(interventions)
    for numbers in _alike(interventions):
        group = [interventions[number] for number in numbers]
        parts = [lvlm.log_probs(canvases, group[0].text).double().cpu() for canvases in _variants(group)]
        rows = torch.cat(parts).numpy()
        ends = np.cumsum([1 + len(case.masks) for case in group])
        for number, block in zip(numbers, np.split(rows, ends[:-1]), strict=True):
            results[number] = block[0], block[1:]
    return results


def canvas_masks(letterbox: Letterbox, regions: Iterable[Sequence[Box]]) -> np.ndarray:
    """Bool ``[M, h, w]``: for each region, a list of native boxes, the canvas pixels whose centres it holds."""
    size = letterbox.height, letterbox.width
    masks = [boxes_mask((letterbox.to_canvas(box) for box in boxes), *size) for boxes in regions]
    return np.stack(masks) if masks else np.zeros((0, *size), bool)


def filled(canvas: Tensor, masks: Tensor, fill: Fill) -> Tensor:
    """``canvas`` ``[h, w]`` with each mask ``[M, h, w]`` filled: ``[M, h, w]``."""
    if isinstance(fill, str):
        if fill not in FILLS:
            raise MedgroundError(f"unknown fill {fill!r}; known: {', '.join(FILLS)}")
        fill = FILLS[fill](canvas, masks)
    fill = torch.as_tensor(fill, dtype=canvas.dtype, device=canvas.device)
    return torch.where(masks, fill, canvas)


def _black(canvas: Tensor, masks: Tensor) -> Tensor:
    return canvas.new_zeros(())


def _mean(canvas: Tensor, masks: Tensor) -> Tensor:
    """The film's mean gray; black padding is left out."""
    inside = canvas > 0
    return (canvas * inside).sum() / inside.sum().clamp(min=1)


def _blur(canvas: Tensor, masks: Tensor) -> Tensor:
    """The film itself, blurred until findings are gone (Gaussian, sigma 1/12 of the longer side)."""
    sigma = max(canvas.shape) / 12
    return (_gaussian(canvas[None], sigma) / _gaussian(torch.ones_like(canvas)[None], sigma))[0]


def _surround(canvas: Tensor, masks: Tensor) -> Tensor:
    """What is left, smoothly continued into the hole: normalised convolution, sigma 1/12 of the longer side.

    Knutsson and Westin, "Normalized and differential convolution", CVPR 1993.
    """
    left = (~masks).to(canvas.dtype)
    mean = (canvas * left).sum((1, 2), keepdim=True) / left.sum((1, 2), keepdim=True).clamp(min=1)
    sigma = max(canvas.shape) / 12
    return (_gaussian(canvas * left, sigma) + _LEAST * mean) / (_gaussian(left, sigma) + _LEAST)


FILLS = {"black": _black, "mean": _mean, "blur": _blur, "surround": _surround}


def _gaussian(images: Tensor, sigma: float) -> Tensor:
    """``[M, h, w]`` blurred, as two matrix products; what lies beyond the border counts as empty."""
    down, across = (_kernel(size, sigma).to(images) for size in images.shape[1:])
    return down @ images @ across


def _kernel(size: int, sigma: float) -> Tensor:
    at = torch.arange(size, dtype=torch.float32)
    return torch.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


def _alike(interventions: Sequence[Intervention]) -> list[list[int]]:
    """Numbers of the cases that share a text and a canvas size."""
    groups = defaultdict(list)
    for number, case in enumerate(interventions):
        ids, answer = case.text.input_ids, case.text.answer
        groups[tuple(ids.flatten().tolist()), len(answer), tuple(case.canvas.shape)].append(number)
    return list(groups.values())


def _variants(group: Sequence[Intervention]) -> Iterator[Tensor]:
    """The canvases of a group, untouched then masked, case by case, in chunks ``[B, h, w]`` that fit the device."""
    size = max(1, _PIXELS // group[0].canvas.numel())
    waiting: list[Tensor] = []
    for case in group:
        waiting.append(case.canvas[None])
        for start in range(0, len(case.masks), size):
            masks = torch.from_numpy(case.masks[start : start + size]).to(case.canvas.device)
            waiting.append(filled(case.canvas, masks, case.fill))
            if sum(map(len, waiting)) >= size:
                yield torch.cat(waiting)
                waiting = []
    if waiting:
        yield torch.cat(waiting)
