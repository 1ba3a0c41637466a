"""Methods that hide parts of the film and watch the answer: occlusion and RISE.

Both score a masked film by the mean probability of the answer's tokens, on an 8 x 8 grid over the model's canvas.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from ..method import Attribution, Item
from ..registry import register

if TYPE_CHECKING:
    from ...lvlm import LVLM

Cells = Annotated[int, Field(ge=1, le=64)]  # a side
Fill = Literal["black", "mean", "blur", "surround"]  # what hidden cells show, see `lvlm.interventions.FILLS`


@register(
    "occlusion",
    group="perturbation",
    paper="Zeiler and Fergus, ECCV 2014",
    passes=lambda settings: {"forward": 1 + settings["cells"] ** 2},
)
def occlusion(lvlm: LVLM, items: Sequence[Item], cells: Cells = 8, fill: Fill = "black") -> list[Attribution]:
    """How much the mean answer probability falls when a tile is filled, for ``cells`` x ``cells`` tiles.

    Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
    """
    tiles = np.eye(cells * cells, dtype=bool).reshape(-1, cells, cells)
    results = []
    for item, (original, masked) in zip(items, _probabilities(lvlm, items, [tiles] * len(items), fill), strict=True):
        results.append(_grid(lvlm, item, (original - masked).reshape(cells, cells), 1 + len(masked)))
    return results


@register(
    "rise",
    group="perturbation",
    paper="Petsiuk, Das and Saenko, BMVC 2018",
    needs=("model", "seed"),
    passes=lambda settings: {"forward": 1 + settings["masks"]},
)
def rise(
    lvlm: LVLM,
    items: Sequence[Item],
    cells: Cells = 8,
    masks: Annotated[int, Field(ge=1, le=100_000)] = 64,
    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    normalise: bool = True,
    seed: int = 0,
    fill: Fill = "black",
) -> list[Attribution]:
    """What the mean answer probability is worth when a cell is seen: ``masks`` random masks keep a cell with
    probability ``keep``.

    Petsiuk, Das and Saenko, "RISE", BMVC 2018, with hard cells. Normalised, a cell's value is the mean score of the
    masks that keep it, less the mean of all: how often chance kept a cell cancels, and a constant model has exactly no
    evidence. Otherwise it is the sum of these scores over ``masks * keep`` (Eq. 6 of the paper).
    """
    kept = [_rise_masks(item.case_id, cells, masks, keep, seed) for item in items]
    results = []
    for item, seen, (_, score) in zip(items, kept, _probabilities(lvlm, items, [~k for k in kept], fill), strict=True):
        grid = rise_map(score, seen) if normalise else np.tensordot(score, seen, 1) / (masks * keep)
        results.append(_grid(lvlm, item, grid, 1 + masks))
    return results


def rise_map(score: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean score ``[M]`` of the masks that see each cell (``seen``, bool ``[M, h, w]``), less the mean of all."""
    score = score - score.min()  # a constant score becomes exactly 0
    return np.tensordot(score, seen, 1) / np.maximum(seen.sum(0), 1) - score.mean()


def _rise_masks(case_id: str, cells: int, masks: int, keep: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, zlib.crc32(case_id.encode())])
    return rng.random((masks, cells, cells)) < keep


def _probabilities(
    lvlm: LVLM, items: Sequence[Item], hidden: Sequence[np.ndarray], fill: Fill
) -> list[tuple[float, np.ndarray]]:
    """Per item the mean answer probability of the untouched film, and of each with cells ``[M, c, c]`` hidden."""
    from ...lvlm.interventions import Intervention, intervene

    cases = []
    for item, cells in zip(items, hidden, strict=True):
        height, width = item.film.shape
        canvas = lvlm.canvas([item.film])[0]
        text = lvlm.text(item.prompt, item.answer, width, height)
        cases.append(Intervention(canvas, text, _enlarged(cells, *canvas.shape), fill))
    return [(np.exp(o).mean(), np.exp(m).mean(1)) for o, m in intervene(lvlm, cases)]


def _enlarged(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cells ``[M, c, c]`` as pixels ``[M, height, width]``, every pixel in the cell that holds its centre."""
    count = cells.shape[1]
    rows = (np.arange(height) * 2 + 1) * count // (2 * height)
    columns = (np.arange(width) * 2 + 1) * count // (2 * width)
    return cells[:, rows[:, None], columns]


def _grid(lvlm: LVLM, item: Item, grid: np.ndarray, forwards: int) -> Attribution:
    height, width = item.film.shape
    return Attribution(item.case_id, grid, lvlm.letterbox(width, height).extent, forwards=forwards)
