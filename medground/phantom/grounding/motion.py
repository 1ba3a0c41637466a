"""Films that are moved and exposed a little differently at every step, and the boxes on them, which move alike."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_SHARPEST = 0.4  # share of the films of a step that are not moved, and so not blurred


def moves(rng: np.random.Generator, films: int) -> np.ndarray:
    """How each film of a step is moved: float32 ``[films, 3]``, a scale about its middle and a shift right and down
    in shares of its sides."""
    drawn = np.column_stack([rng.uniform(0.88, 1.14, films), rng.uniform(-0.1, 0.1, (films, 2))])
    return np.where(rng.random((films, 1)) < _SHARPEST, [1.0, 0.0, 0.0], drawn).astype(np.float32)


def moved(images: Tensor, how: np.ndarray, mode: str = "bilinear") -> Tensor:
    """Images ``[B, C, h, w]`` moved by `moves`; what comes in from outside is 0."""
    theta = torch.zeros(len(how), 2, 3)
    scale, shift = torch.from_numpy(how[:, :1]), torch.from_numpy(how[:, 1:])
    theta[:, :, :2] = torch.eye(2) / scale[..., None]
    theta[:, :, 2] = -2 * shift / scale  # grid_sample's coordinates run from -1 to 1
    grid = F.affine_grid(theta, list(images.shape), align_corners=False).to(images.device)
    return F.grid_sample(images, grid, mode=mode, align_corners=False)


def moved_boxes(boxes: np.ndarray, how: np.ndarray) -> np.ndarray:
    """Boxes ``[B, N, 4]`` in shares of the film, moved alike and cut to the film; NaN where little is left."""
    scale, shift = how[:, None, :1], np.tile(how[:, None, 1:], 2)
    whole = (boxes - 0.5) * scale + 0.5 + shift
    cut = whole.clip(0, 1)
    left = _area(cut) / _area(whole) > 0.5  # False for NaN
    return np.where(left[..., None], cut, np.nan).astype(np.float32)


def exposed(films: np.ndarray, rng: np.random.Generator) -> Tensor:
    """uint8 films ``[B, h, w]`` under a jittered exposure, float32 ``[B, 1, h, w]`` from 0 to 1."""
    gain = rng.uniform(0.9, 1.1, (len(films), 1, 1)).astype(np.float32)
    shift = rng.uniform(-0.06, 0.06, (len(films), 1, 1)).astype(np.float32)
    return torch.from_numpy(np.clip(films.astype(np.float32) / 255 * gain + shift, 0, 1))[:, None]


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
