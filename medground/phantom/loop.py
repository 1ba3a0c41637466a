"""The training loop: batches, optimizer, schedule, and going on where a killed run was."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def run(
    phase: str,
    steps: int,
    save_every: int,
    modules: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: Callable[[int], Tensor],
    report: Callable[[], str],
    path: Path,
) -> None:
    """Take ``steps`` steps with a warm-up and a cosine, saving to ``path`` on the way and at the end."""
    done = 0
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        modules.load_state_dict(state["modules"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["done"]
        print(f"{phase}: goes on after {done} of {steps} steps ({path.name})", flush=True)
    rates = [group["rate"] for group in optimizer.param_groups]
    began, recent = time.monotonic(), []
    for number in range(done, steps):
        share = min(1.0, (number + 1) / (0.05 * steps)) * 0.5 * (1 + math.cos(math.pi * number / steps))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * share
        optimizer.zero_grad(set_to_none=True)
        loss = step(number)
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()
        recent.append(loss.item())
        if (number + 1) % save_every == 0 or number + 1 == steps:
            elapsed = time.monotonic() - began
            print(
                f"{phase} {number + 1}/{steps} loss {np.mean(recent):.4f} {elapsed:.0f} s "
                f"({elapsed / (number + 1 - done):.2f} s a step) {report()}",
                flush=True,
            )
            recent.clear()
            state = {"modules": modules.state_dict(), "optimizer": optimizer.state_dict(), "done": number + 1}
            partial = path.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(path)


def adamw(groups: Sequence[tuple[Iterable[nn.Parameter], float]], rate: float, decay: float) -> torch.optim.Optimizer:
    """AdamW over (parameters, share of the rate) groups; matrices decay, vectors do not."""
    made = []
    for members, share in groups:
        parameters = list(members)
        for some, weight_decay in (
            ([p for p in parameters if p.ndim > 1], decay),
            ([p for p in parameters if p.ndim <= 1], 0.0),
        ):
            made.append({"params": some, "rate": rate * share, "weight_decay": weight_decay})
    return torch.optim.AdamW(made, lr=rate, betas=(0.9, 0.98), fused=True)


def onto_device(*modules: nn.Module) -> None:
    """Move modules onto the GPU, where there is one."""
    for module in modules:
        module.to("cuda" if torch.cuda.is_available() else "cpu")


def batch(films: int, size: int, seed: int, step: int) -> np.ndarray:
    """Which films step ``step`` sees: epochs of shuffled films, cut into batches."""
    size = min(size, films)
    a_round = films // size
    order = np.random.default_rng([seed, 1, step // a_round]).permutation(films)
    return np.sort(order[step % a_round * size :][:size])


def prepare(cache: Path) -> None:
    """Make the folder of states; equal results from now on, and glibc reuses the memory of large tensors (giving it
    back to the system at every step costs a fifth)."""
    cache.mkdir(parents=True, exist_ok=True)
    torch.use_deterministic_algorithms(True, warn_only=True)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD
