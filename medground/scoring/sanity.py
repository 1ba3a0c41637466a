"""Does a map depend on what it claims to explain? Checks without an expert (Adebayo et al. 2018, Hedström et al. 2023).

Each check holds a map against one that was made after something changed, and against maps of other cases of the same
model and mode about other findings: the *null*, what maps have in common whatever they explain. Two maps are as
similar as the hottest tenths of their pixels overlap, as `overlap` says.

- ``decoder``: the model's decoder layers are re-initialised, from the last one down. A map that is then still nearer to
  itself than other cases' maps are (interval of the difference above 0, over patients) does not explain the answer.
- ``question``: the same film, asked about another finding that is there. The same rule: the map must have moved.
- ``noise``: noise of 2 gray levels on the film. The map must stay: at least halfway from the null to being the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..geometry import Box, as_box
from .agreement import depth
from .score import attribution_problem, canvases, render

SHARE = 0.1  # of the pixels that are compared
MOVES, STAYS = ("decoder", "question"), ("noise",)
NOISE = 2.0  # gray levels, standard deviation


def hottest(attribution: Mapping | None, width: int, height: int) -> np.ndarray | None:
    """Bool ``[h, w]``: the hottest tenth of the pixels of a film of that size, as `canvases` has it; None where the
    attribution cannot be drawn. Boxes grow or shrink about their centres. Ties go to the first pixels.
    ``width, height`` are the film's, in pixels.
    """
    film: Box = (0.0, 0.0, float(width), float(height))
    if attribution is None or attribution_problem(attribution, film):
        return None
    canvas = canvases(width, height)["medground"]
    grid = attribution.get("grid")
    if grid is not None and len(grid):
        heat, problem = render(attribution, canvas)
        if problem:
            return None
    else:
        boxes = [canvas.to_canvas(as_box(box)) for box in attribution["boxes"]]
        heat = depth([box for box in boxes if box[2] > box[0] and box[3] > box[1]], canvas.height, canvas.width)
    chosen = np.zeros(heat.shape, bool)
    chosen.flat[np.argsort(-heat, axis=None, kind="stable")[: max(1, round(SHARE * heat.size))]] = True
    return chosen


def overlap(first: np.ndarray | None, second: np.ndarray | None) -> float:
    """IoU, 0..1, of two `hottest` masks; 0 where one is missing. Of two film sizes the smaller common part counts.

    ``first, second`` are bool ``[h, w]``, or None.
    """
    if first is None or second is None:
        return 0.0
    if first.shape != second.shape:
        height, width = (min(sides) for sides in zip(first.shape, second.shape, strict=True))
        first, second = first[:height, :width], second[:height, :width]
    union = int((first | second).sum())
    return float((first & second).sum() / union) if union else 0.0


def nulls(cases: Sequence[Mapping], masks: Mapping[str, np.ndarray | None]) -> dict[str, float]:
    """For each case the mean overlap of its map with those of other films of its model and mode on other findings.

    ``cases`` have ``case_id``, ``model``, ``mode``, ``finding`` and ``film``; ``masks`` are `hottest` by case.
    """
    groups: dict[tuple, list[Mapping]] = defaultdict(list)
    for case in cases:
        groups[case["model"], case["mode"]].append(case)
    found = {}
    for group in groups.values():
        for case in group:
            others = [c["case_id"] for c in group if c["finding"] != case["finding"] and c["film"] != case["film"]]
            if others:
                own = masks.get(case["case_id"])
                found[case["case_id"]] = float(np.mean([overlap(own, masks.get(other)) for other in others]))
    return found


def same_films(cases: Iterable[Mapping]) -> list[tuple[Mapping, Mapping]]:
    """Pairs of cases on one film, of one model and mode, about two findings that the model both answers right."""
    films: dict[tuple, list[Mapping]] = defaultdict(list)
    for case in cases:
        films[case["model"], case["mode"], case["film"]].append(case)
    return [
        (first, second)
        for group in films.values()
        for number, first in enumerate(group)
        for second in group[number + 1 :]
        if first["finding"] != second["finding"]
    ]


def verdict(check: str, low: float, similarity: float, null: float) -> bool:
    """Does a check pass? ``low`` is the lower end of the interval of similarity less null, the others are means."""
    if check in STAYS:
        return similarity >= (1 + null) / 2
    return low <= 0
