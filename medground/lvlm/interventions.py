"""Interventions: take part of a film away and see how likely the model still is to write its answer.

Masks are applied on the device to the canvas, the gray film as the model's own preprocessing draws it, before
normalisation. Filling whole canvas pixels is exact there; a mask drawn on a native film differs from it only where the
resampling blurs the mask's border.
"""

from __future__ import annotations

import hashlib
import itertools
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
_Key = tuple[int, ...]  # of a text: its tokens, how many of them are the answer, and the size of what it is about
_View = dict[_Key, list[tuple[int, int]]]  # who asks about one canvas: by text, the numbers of case and row
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

    Canvases that the same texts are asked about go through the model together. One that several cases show, as the
    same film with the same part masked in both modes, is shown to the vision tower once. A case costs M + 1 forwards,
    shared or not.
    """
    rows = [np.empty((1 + len(case.masks), len(case.text.answer))) for case in interventions]
    for texts, views in _groups(interventions):
        for some, canvases in _chunks(interventions, views):
            asked = list(texts.values())
            said = lvlm.log_probs_each(canvases, asked) if len(asked) > 1 else [lvlm.log_probs(canvases, asked[0])]
            for key, log_probs in zip(texts, said, strict=True):
                for view, values in zip(some, log_probs.double().cpu().numpy(), strict=True):
                    for case, row in view[key]:
                        rows[case][row] = values
    return [(of_case[0], of_case[1:]) for of_case in rows]


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


def _groups(interventions: Sequence[Intervention]) -> Iterator[tuple[dict[_Key, Text], list[_View]]]:
    """Texts, by their tokens, with the distinct canvases of one size that these texts are asked about."""
    texts: dict[_Key, Text] = {}
    views: dict[tuple, _View] = defaultdict(lambda: defaultdict(list))
    for number, case in enumerate(interventions):
        key = (*case.text.input_ids.flatten().tolist(), len(case.text.answer), *case.canvas.shape)
        texts.setdefault(key, case.text)
        for row, shown in enumerate(_shown(case)):
            views[shown][key].append((number, row))
    groups = defaultdict(list)
    for (size, *_), view in views.items():
        groups[size, tuple(view)].append(view)
    for (_, asked), some in groups.items():
        yield {key: texts[key] for key in asked}, some


def _shown(case: Intervention) -> Iterator[tuple]:
    """What tells a case's canvases apart from others, untouched, then masked."""
    film = tuple(case.canvas.shape), _digest(case.canvas)
    yield film
    shared = case.fill if not isinstance(case.fill, Tensor) else _digest(case.fill) if case.fill.ndim == 2 else None
    for row, mask in enumerate(case.masks):
        fill = _digest(case.fill[row]) if isinstance(case.fill, Tensor) and shared is None else shared
        yield *film, fill, np.packbits(mask).tobytes()


def _digest(values: Tensor) -> bytes:
    return hashlib.sha256(values.detach().cpu().numpy().tobytes()).digest()


def _chunks(interventions: Sequence[Intervention], views: Sequence[_View]) -> Iterator[tuple[Sequence[_View], Tensor]]:
    """The views with their canvases ``[B, h, w]``, in chunks that fit the device."""
    first = [next(iter(view.values()))[0] for view in views]
    size = max(1, _PIXELS // interventions[first[0][0]].canvas.numel())
    for start in range(0, len(views), size):
        some = first[start : start + size]
        drawn = [
            _drawn(interventions[number], [row for _, row in rows])
            for number, rows in itertools.groupby(some, key=lambda place: place[0])
        ]
        yield views[start : start + size], torch.cat(drawn)


def _drawn(case: Intervention, rows: Sequence[int]) -> Tensor:
    """Canvases of a case ``[B, h, w]``: row 0 is untouched, row k + 1 is masked by mask k."""
    whole = [case.canvas[None]] * rows.count(0)  # first, where it is there at all
    masks = [row - 1 for row in rows if row]
    if not masks:
        return torch.cat(whole)
    fill = case.fill[masks] if isinstance(case.fill, Tensor) and case.fill.ndim == 3 else case.fill
    hidden = torch.from_numpy(case.masks[masks]).to(case.canvas.device)
    return torch.cat([*whole, filled(case.canvas, hidden, fill)])
