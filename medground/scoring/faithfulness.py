"""Deletion and insertion: does the answer go with what a map points at, and come back with it?

Petsiuk, Das and Saenko, "RISE", BMVC 2018. The film's pixels are ranked by the map. Deletion exchanges them for those
of a normal film, the most important first, and is the area under the answer's probability against the share that is
gone: small is good. Insertion starts from the normal film, puts the pixels back in the same order, and is the area
against the share that is back: large is good. No expert region is involved. RISE fills with the mean gray, or blurs;
neither is a film that the model was made for, and what the fill is decides the order of methods.

The probability of an answer is the geometric mean of its tokens' probabilities. Their product would say the same of
"Yes.", but falls with every further token: a reasoning answer of a hundred would have an area of nothing whatever a map
points at, and answers of different lengths could not be averaged.

Nothing here runs a model: who measures passes a function that asks one (`medground.attribution.faithfulness`).
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from ..cases import localised
from ..geometry import Box, Letterbox, fill
from .metrics import METRICS
from .score import attribution_problem, render

Seed = int | Sequence[int]
#: Masks ``[M, h, w]`` of the canvas in; the answer's probability on the film, and ``[M]`` with each exchanged, out.
Ask = Callable[[np.ndarray], tuple[float, np.ndarray]]
WORST = {metric.name: metric.worst for metric in METRICS.that_need("model") if metric.measure is None}
SPLIT = "test"  # of the cases that are measured


def faithfulness(
    ask: Ask, letterbox: Letterbox, attributions: Sequence[Mapping | None], steps: int, seed: Seed = 0
) -> list[dict]:
    """``deletion`` and ``insertion``, each in 0..1, and ``problem`` of every attribution of one case, in order.

    ``ask`` asks the model on the canvas of ``letterbox``; ``attributions`` are as in `score_case`. The film is changed
    in ``steps`` equal shares; ties among pixels are broken at random, by ``seed`` and the same way for all
    attributions. One that is missing or invalid scores the worst value and costs nothing; the others cost
    2 (``steps`` - 1) forwards each, and two more are shared.
    """
    film: Box = (0.0, 0.0, float(letterbox.film_width), float(letterbox.film_height))
    on_film = fill([letterbox.to_canvas(film)], letterbox.height, letterbox.width)
    heats, problems = zip(*(_heat(attribution, film, letterbox) for attribution in attributions), strict=True)
    valid = [heat for heat, problem in zip(heats, problems, strict=True) if not problem]
    if not valid:
        return [{**WORST, "problem": problem} for problem in problems]
    gone = np.concatenate([removed(heat, on_film, steps, seed) for heat in valid])
    whole, answered = ask(np.concatenate([on_film[None], gone, on_film & ~gone]))
    normal, deleted, inserted = answered[0], *np.split(answered[1:], 2)
    areas = zip(
        (_area(whole, curve, normal) for curve in deleted.reshape(-1, steps - 1)),
        (_area(normal, curve, whole) for curve in inserted.reshape(-1, steps - 1)),
        strict=True,
    )
    return [
        {**(WORST if problem else dict(zip(WORST, next(areas), strict=True))), "problem": problem}
        for problem in problems
    ]


def removed(heat: np.ndarray, on_film: np.ndarray, steps: int, seed: Seed = 0) -> np.ndarray:
    """Bool ``[steps - 1, h, w]``: what is gone after each step but the last, the hottest pixels of the film first.

    ``heat`` and ``on_film``, the pixels that count, are ``[h, w]``. Ties are broken by a random order of the pixels.
    That order is drawn by ``seed``.
    """
    place = np.flatnonzero(on_film)
    chance = np.random.default_rng(seed).permutation(place.size)
    rank = np.full(heat.shape, place.size)
    rank.flat[place[np.lexsort((chance, -heat.flat[place]))]] = np.arange(place.size)
    return np.stack([rank < round(step * place.size / steps) for step in range(1, steps)])


def measured_cases(cases: Iterable[Mapping], most: int, seed: int = 0, split: str = SPLIT) -> list[Mapping]:
    """At most ``most`` honest cases of a split for each model and mode, drawn by ``seed``, in their order."""
    cases = [case for case in cases if case["split"] == split and localised(case)]
    groups = defaultdict(list)
    for case in cases:
        groups[case["model"], case["mode"]].append(case["case_id"])
    chosen = set()
    for key, ids in groups.items():
        order = np.random.default_rng([seed, zlib.crc32("/".join(key).encode())])  # a group does not move another
        chosen.update(order.permutation(sorted(ids))[:most].tolist())
    return [case for case in cases if case["case_id"] in chosen]


def _heat(attribution: Mapping | None, film: Box, letterbox: Letterbox) -> tuple[np.ndarray | None, str | None]:
    problem = attribution_problem(attribution, film)
    return (None, problem) if attribution is None or problem else render(attribution, letterbox)


def _area(first: float, between: np.ndarray, last: float) -> float:
    """The area under a curve over equal steps from 0 to 1, by trapezoids."""
    return float(np.trapezoid([first, *between, last], dx=1 / (len(between) + 1)))
