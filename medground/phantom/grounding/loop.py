"""The training loop of the phantom's eyes: one batch after the other, killed or not, always with the same result."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .settings import Settings

_SHARPEST = 0.4  # share of the films of a step that are not moved, and so not blurred


def run(
    name: str,
    model: nn.Module,
    settings: Settings,
    step: Callable[[int], Tensor],
    report: Callable[[], str],
    path: Path,
) -> None:
    """Take ``settings.steps`` steps of AdamW on the loss ``step(number)``, with a warm-up and a cosine.

    State is kept in ``path`` every `Settings.save_every` steps, and a run that was killed goes on from there.
    """
    s = settings
    _keep_freed_memory()
    torch.use_deterministic_algorithms(True, warn_only=True)
    optimizer, done = _optimizer(model, s), 0
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["done"]
        print(f"{name}: goes on after {done} of {s.steps} steps ({path.name})", flush=True)
    began, recent = time.monotonic(), []
    model.train()
    for number in range(done, s.steps):
        share = min(1.0, (number + 1) / (0.05 * s.steps)) * 0.5 * (1 + math.cos(math.pi * number / s.steps))
        for group in optimizer.param_groups:
            group["lr"] = s.rate * share
        optimizer.zero_grad(set_to_none=True)
        loss = step(number)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(loss.item())
        if (number + 1) % s.save_every == 0 or number + 1 == s.steps:
            model.eval()
            elapsed = time.monotonic() - began
            print(
                f"{name} {number + 1}/{s.steps} loss {np.mean(recent):.4f} {elapsed:.0f} s "
                f"({elapsed / (number + 1 - done):.2f} s a step) {report()}",
                flush=True,
            )
            model.train()
            recent.clear()
            partial = path.with_suffix(".partial")
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": number + 1}
            torch.save(state, partial)
            partial.replace(path)
    model.eval()


def batch(films: int, size: int, seed: int, step: int) -> np.ndarray:
    """Which films step ``step`` sees: epochs of shuffled films, cut into batches."""
    size = min(size, films)
    a_round = films // size
    order = np.random.default_rng([seed, 1, step // a_round]).permutation(films)
    return np.sort(order[step % a_round * size :][:size])


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


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW; matrices decay, vectors do not."""
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learnt if p.ndim > 1], "weight_decay": settings.decay},
        {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.rate, betas=(0.9, 0.98), fused=True)


def _keep_freed_memory() -> None:
    """Let glibc reuse the memory of large tensors; giving it back to the system at every step costs a fifth."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
