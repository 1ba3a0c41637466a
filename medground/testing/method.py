"""Is a method what the pipeline takes it for? The checks that our own methods pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np

from ..attribution import Attribution, Item, Method, by_entry
from ..errors import MedgroundError
from .checks import holds, run

if TYPE_CHECKING:
    from ..lvlm import LVLM

QUESTION = "Is there evidence of cardiomegaly in the image? Answer directly with yes or no without any explanation."
LONGER = "The heart is wide. Yes."


def check_method(method: str | Method, lvlm: LVLM | None = None, items: Sequence[Item] | None = None) -> None:
    """Check a method on a small model; takes seconds on a CPU.

    ``method`` is what params.yaml calls it, or a `Method` with settings that make it quick. ``lvlm`` is the model to
    explain, a Gemma 3 with random weights if not given; ``items`` are cases, three if not given.

    What is checked: each case has a finite map with the extent that it covers, or boxes, within the film; the same call
    twice says the same; a case alone says what it says in a batch; items and the model are left as they were; the
    method runs with what it declares to need and with nothing else, and refuses a case that lacks it; settings are
    plain values, and one that it does not have is refused; it takes no more passes than it declares. Raises
    AssertionError that lists all that is wrong.
    """
    chosen = by_entry(method) if isinstance(method, str) else method
    asked = lvlm if lvlm is not None or "model" not in chosen.needs else small_model()
    given = [_stripped(chosen, item) for item in (items or cases())]
    checks: dict[str, Callable[[], None]] = {
        "traces": partial(_traces, chosen, asked, given),  # first: it compares with what was before
        "results": partial(_results, chosen, asked, given),
        "determinism": partial(_determinism, chosen, asked, given),
        "batches": partial(_batches, chosen, asked, given),
        "needs": partial(_needs, chosen, asked, given),
        "settings": partial(_settings, chosen),
        "passes": partial(_passes, chosen, asked, given),
    }
    run(f"the method {chosen.entry!r}", checks)


def small_model() -> LVLM:
    """A Gemma 3 with random weights, which knows the words of `cases`."""
    from ..phantom.lvlms.architecture import build

    return build("gemma3", [QUESTION, "Yes.", LONGER], seed=1).adapter("gemma3")


def cases() -> list[Item]:
    """Three cases: two that share words and size, and a third with a longer answer on a film of another shape."""
    return [
        Item(
            f"m/direct/s/{n}", _film(n, *size), QUESTION, answer, "cardiomegaly", _concepts(*size), _film(n + 3, *size)
        )
        for n, (size, answer) in enumerate([((150, 130), "Yes."), ((150, 130), "Yes."), ((120, 160), LONGER)])
    ]


def _film(seed: int, height: int, width: int) -> np.ndarray:
    """A smooth random film, uint8 ``[height, width]``."""
    rows, columns = np.linspace(0, 4.99, height).astype(int), np.linspace(0, 4.99, width).astype(int)
    coarse = np.random.default_rng(seed).uniform(20, 235, (5, 5))
    return coarse[rows[:, None], columns].astype(np.uint8)


def _concepts(height: int, width: int) -> tuple:
    left, right = (0.55 * width, 0.1 * height, 0.95 * width, 0.75 * height), (
        0.05 * width, 0.1 * height, 0.45 * width, 0.75 * height,
    )  # fmt: skip
    heart = (0.35 * width, 0.4 * height, 0.75 * width, 0.8 * height)
    return ("left lung", left), ("right lung", right), ("cardiac silhouette", heart)


def _stripped(method: Method, item: Item) -> Item:
    """An item with what the method declares to need, and nothing else."""
    return replace(
        item,
        concepts=item.concepts if "concepts" in method.needs else (),
        normal=item.normal if "normal" in method.needs else None,
    )


def _results(method: Method, lvlm: LVLM | None, items: Sequence[Item]) -> None:
    for item, found in zip(items, method.attribute(lvlm, items), strict=True):
        height, width = item.film.shape
        here = f"case {item.case_id}"
        holds((found.grid is None) != (found.boxes is None), f"{here} has neither a map nor boxes, or both")
        if found.grid is not None:
            grid = np.asarray(found.grid)
            holds(grid.ndim == 2 and grid.size > 0, f"{here}: the map has the shape {grid.shape}; it must be [h, w]")
            holds(bool(np.isfinite(grid).all()), f"{here}: the map has values that are not finite")
            holds(found.extent is not None, f"{here}: a map needs the extent that it covers")
        for box in found.boxes or []:
            x1, y1, x2, y2 = box
            inside = 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
            holds(inside, f"{here}: the box {box} is empty, or not within the film of {width} x {height}")


def _determinism(method: Method, lvlm: LVLM | None, items: Sequence[Item]) -> None:
    first, second = method.attribute(lvlm, items), method.attribute(lvlm, items)
    for one, other in zip(first, second, strict=True):
        holds(_alike(one, other, exact=True), f"case {one.case_id}: the same call twice says something else")


def _batches(method: Method, lvlm: LVLM | None, items: Sequence[Item]) -> None:
    for item, batched in zip(items, method.attribute(lvlm, items), strict=True):
        alone = method.attribute(lvlm, [item])[0]
        holds(_alike(alone, batched), f"case {item.case_id} alone says something else than in a batch")


def _alike(one: Attribution, other: Attribution, exact: bool = False) -> bool:
    if one.grid is None or other.grid is None:
        return one.grid is other.grid and one.boxes == other.boxes
    a, b = np.asarray(one.grid, np.float64), np.asarray(other.grid, np.float64)
    if a.shape != b.shape or one.extent != other.extent:
        return False
    # The order of float32 sums depends on the batch.
    return np.array_equal(a, b) if exact else np.allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(a).max() + 1e-9)


def _traces(method: Method, lvlm: LVLM | None, items: Sequence[Item]) -> None:
    films, before = [item.film.copy() for item in items], _state(lvlm)
    method.attribute(lvlm, items)
    holds(all(np.array_equal(a, item.film) for a, item in zip(films, items, strict=True)), "a film was written to")
    holds(_state(lvlm) == before, "hooks, gradients or the kind of attention of the model are not as they were")


def _state(lvlm: LVLM | None) -> list[Any]:
    if lvlm is None:
        return []
    hooks = [
        hook
        for module in lvlm.model.modules()
        for kept in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        for hook in kept.values()
        if not getattr(hook, "__module__", "").startswith(
            "transformers"
        )  # its own, which stay once attentions were read
    ]
    graded = [
        name for name, weights in lvlm.model.named_parameters() if weights.requires_grad or weights.grad is not None
    ]
    return [hooks, graded, lvlm.model.training, lvlm.model.config.get_text_config()._attn_implementation]


def _needs(method: Method, lvlm: LVLM | None, items: Sequence[Item]) -> None:
    lacking: dict[str, dict[str, Any]] = {"concepts": {"concepts": ()}, "normal": {"normal": None}}
    for need, taken in lacking.items():
        if need in method.needs:
            try:
                method.attribute(lvlm, [replace(items[0], **taken)])
            except MedgroundError:
                continue
            holds(False, f"it declares to need {need}, and took a case without")
    if "model" not in method.needs:
        method.attribute(None, items)
    elif "gradients" not in method.needs:
        with _no_gradients():
            method.attribute(lvlm, items[:1])
    for name in ("seed", "detector", "segmenter"):
        if name in method.needs:
            holds(name in method.settings, f"it declares to need {name}, and has no setting of that name")


@contextmanager
def _no_gradients() -> Iterator[None]:
    """Whatever asks for a gradient fails meanwhile."""
    import torch

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it follows gradients without declaring the need for them")

    with patch.object(torch.autograd, "grad", refuse), patch.object(torch.autograd, "backward", refuse):
        yield


def _settings(method: Method) -> None:
    json.dumps(dict(method.settings), allow_nan=False)
    problems = method.problems(method.settings)
    holds(not problems, f"its own settings are refused: {'; '.join(problems)}")
    holds(bool(method.problems({"no_such_setting": 1})), "a setting that it does not have is accepted")


def _passes(method: Method, lvlm: LVLM | None, items: Sequence[Item]) -> None:
    if method.passes is None or "generation" in method.passes:
        return
    declared = sum(method.passes.values())
    for found in method.attribute(lvlm, items):
        taken = found.forwards
        holds(taken <= declared, f"case {found.case_id} took {taken} passes, and {declared} are declared")
