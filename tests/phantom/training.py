"""Small made-up films that models are trained on in tests, and their weights."""

from __future__ import annotations

import numpy as np
import torch

from medground.phantom.lvlms.data import Films
from medground.phantom.lvlms.train import canvases


def films(family: str, findings: int, marks: int, count: int = 8) -> Films:
    """Noise with a bright square per finding that is present, in its own cell; marks on films drawn by themselves."""
    canvas = canvases(1)[family]
    rng = np.random.default_rng(0)
    present = rng.random((count, findings)) < 0.5
    drawn = rng.integers(0, 90, (count, canvas.letterbox.height, canvas.letterbox.width), dtype=np.uint8)
    shares = np.zeros((count, canvas.grid[0] * canvas.grid[1], findings + marks), np.uint8)
    for film, finding in np.argwhere(present):
        drawn[film, 16 * finding // 2 : 16 * finding // 2 + 12, 32:44] = 255
        shares[film, finding * canvas.grid[1] + 3, finding] = 255
    extents = np.where(present[..., None], np.float32([10, 20, 60, 90]), np.float32(np.nan))
    return Films(canvas.letterbox, drawn, shares, present, rng.random((count, marks)) < 0.4, extents)


def weights(*modules: torch.nn.Module) -> torch.Tensor:
    """All parameters of some modules, one after the other."""
    return torch.cat([parameter.detach().flatten() for module in modules for parameter in module.parameters()])


class Killed:
    """A function that is interrupted at its ``number``-th call."""

    def __init__(self, function, number: int):
        self.function, self.left = function, number

    def __call__(self, *arguments):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return self.function(*arguments)
