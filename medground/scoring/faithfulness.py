"""Deletion and insertion: does the answer go with what a map points at, and come back with it?

Petsiuk, Das and Saenko, "RISE", BMVC 2018. The film's pixels are ranked by the map. Deletion fills them with the
film's mean gray, the most important first, and is the area under the answer's probability against the share that is
gone: small is good. Insertion starts from the blurred film, sharpens the pixels in the same order, and is the area
against the share that is back: large is good. No expert region is involved.

The probability of an answer is the geometric mean of its tokens' probabilities. Their product would say the same of
"Yes.", but falls with every further token: a reasoning answer of a hundred would have an area of nothing whatever a map
points at, and answers of different lengths could not be averaged.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from .. import engine, records
from ..geometry import Box, Letterbox, fill
from ..images import read_film
from ..lvlm.checkpoints import revision
from .entries import Entry
from .score import attribution_problem, drawn
from .tables import dataset_version, read_attributions

Seed = int | Sequence[int]
METRICS = ("deletion", "insertion")
WORST = {"deletion": 1.0, "insertion": 0.0}
SPLIT = "test"  # of the cases that the board measures
BATCH = 4  # cases; one takes some hundred forwards, so few share out evenly


def faithfulness(
    lvlm, film: np.ndarray, prompt: str, answer: str, attributions: Sequence[Mapping | None], steps: int, seed: Seed = 0
) -> list[dict]:
    """``deletion`` and ``insertion``, each in 0..1, and ``problem`` of every attribution of one case, in order.

    ``film`` is uint8 ``[H, W]``, ``answer`` what the model wrote about it, ``attributions`` as in `score_case`. The
    film is changed in ``steps`` equal shares; ties among pixels are broken at random, by ``seed`` and the same way for
    all attributions. One that is missing or invalid scores the worst value and costs nothing; the others cost
    2 (``steps`` - 1) forwards each, and four more are shared.
    """
    height, width = film.shape
    letterbox = lvlm.letterbox(width, height)
    on_film = fill([letterbox.to_canvas(_whole(film))], letterbox.height, letterbox.width)
    heats, problems = zip(*(_heat(attribution, film, letterbox) for attribution in attributions), strict=True)
    valid = [heat for heat, problem in zip(heats, problems, strict=True) if not problem]
    if not valid:
        return [{**WORST, "problem": problem} for problem in problems]
    gone = np.concatenate([removed(heat, on_film, steps, seed) for heat in valid])
    canvas, text = lvlm.canvas([film])[0], lvlm.text(prompt, answer, width, height)
    whole, deleted = _probabilities(lvlm, canvas, text, np.stack([on_film, *gone]), "mean")
    _, inserted = _probabilities(lvlm, canvas, text, np.stack([on_film, *(on_film & ~gone)]), "blur")
    areas = zip(
        (_area(whole, curve, deleted[0]) for curve in deleted[1:].reshape(-1, steps - 1)),
        (_area(inserted[0], curve, whole) for curve in inserted[1:].reshape(-1, steps - 1)),
        strict=True,
    )
    return [
        {**(WORST if problem else dict(zip(METRICS, next(areas), strict=True))), "problem": problem}
        for problem in problems
    ]


def removed(heat: np.ndarray, on_film: np.ndarray, steps: int, seed: Seed = 0) -> np.ndarray:
    """Bool ``[steps - 1, h, w]``: what is gone after each step but the last, the hottest pixels of the film first.

    ``heat`` and ``on_film``, the pixels that count, are ``[h, w]``. Ties are broken by a random order of the pixels.
    """
    place = np.flatnonzero(on_film)
    chance = np.random.default_rng(seed).permutation(place.size)
    rank = np.full(heat.shape, place.size)
    rank.flat[place[np.lexsort((chance, -heat.flat[place]))]] = np.arange(place.size)
    return np.stack([rank < round(step * place.size / steps) for step in range(1, steps)])


def measured_cases(cases: Iterable[Mapping], most: int, seed: int = 0, split: str = SPLIT) -> list[Mapping]:
    """At most ``most`` honest cases of a split for each model and mode, drawn by ``seed``, in their order."""
    cases = [case for case in cases if case["split"] == split and case["control"] != "shortcut"]
    groups = defaultdict(list)
    for case in cases:
        groups[case["model"], case["mode"]].append(case["case_id"])
    chosen = set()
    for key, ids in groups.items():
        order = np.random.default_rng([seed, zlib.crc32("/".join(key).encode())])  # a group does not move another
        chosen.update(order.permutation(sorted(ids))[:most].tolist())
    return [case for case in cases if case["case_id"] in chosen]


def measure(
    entries: Sequence[Entry],
    cases: Sequence[dict],
    params: SimpleNamespace,
    out: Path | str,
    root: Path = Path("."),
    most: int | None = None,
    split: str = SPLIT,
) -> None:
    """Write `records.FAITHFULNESS` of all entries on their `measured_cases`, resumably, with progress.

    ``params.score`` says how many cases and steps; ``most`` overrides the cases. ``root`` is where the films' paths
    begin.
    """
    chosen = measured_cases(cases, params.score.faithfulness if most is None else most, params.seed, split)
    for entry in entries:
        if entry.check and chosen:
            entry.check()
    work = Measure({entry.name: entry.tables for entry in entries}, params.score.steps, params.seed, root)
    tables = sorted({table for entry in entries for table in entry.tables})
    models = {model: revision(model) for model in sorted({case["model"] for case in chosen})}
    settings = {"models": models, "steps": work.steps, "entries": list(work.tables)}
    options = engine.options(params, tables, dataset=dataset_version(list(cases)), **settings)
    options["batch_size"] = BATCH
    engine.map(work, chosen, key=lambda case: case["case_id"], out=out, schema=records.FAITHFULNESS, **options)


@dataclass
class Measure:
    """The work of `engine.map`: cases in, rows of `records.FAITHFULNESS` of every entry out.

    ``tables`` are the attributions of each entry by its name; ``root`` is where the films' paths begin.
    """

    tables: Mapping[str, Sequence[Path]]
    steps: int
    seed: int
    root: Path = Path(".")

    def __call__(self, cases: list[dict]) -> list[dict]:
        found = {entry: _found(tables, cases) for entry, tables in self.tables.items()}
        return [row for case in cases for row in self._rows(case, [rows[case["case_id"]] for rows in found.values()])]

    def _rows(self, case: dict, found: Sequence[list[dict]]) -> Iterator[dict]:
        only = [rows[0] if len(rows) == 1 else None for rows in found]
        seed = [self.seed, zlib.crc32(case["case_id"].encode())]
        film, lvlm = read_film(self.root / case["film"]), _loaded(case["model"])
        scores = faithfulness(lvlm, film, case["question"], case["answer"], only, self.steps, seed)
        for entry, rows, score in zip(self.tables, found, scores, strict=True):
            again = {"problem": "given more than once"} if len(rows) > 1 else {}
            yield {"entry": entry, "case_id": case["case_id"], **score, **again}


def _found(tables: Iterable[Path], cases: Iterable[Mapping]) -> dict[str, list[dict]]:
    """The attributions of each case, of which there should be one."""
    found = {case["case_id"]: [] for case in cases}
    for table in tables:
        if found.keys().isdisjoint(row["case_id"] for row in read_attributions(table, ["case_id"])):
            continue  # of another model: its maps need not be decoded
        for row in read_attributions(table):
            if row["case_id"] in found:
                found[row["case_id"]].append(row)
    return found


@lru_cache(maxsize=1)
def _loaded(model: str):
    from ..lvlm import load_lvlm  # imports torch too

    return load_lvlm(model)


def _heat(attribution: Mapping | None, film: np.ndarray, letterbox: Letterbox) -> tuple[np.ndarray | None, str | None]:
    problem = attribution_problem(attribution, _whole(film))
    return (None, problem) if problem else drawn(attribution, letterbox)


def _probabilities(lvlm, canvas, text, masks: np.ndarray, fill: str) -> tuple[float, np.ndarray]:
    """The answer's probability on the film, and on each masked film ``[M]``."""
    from ..lvlm.interventions import Intervention, intervene  # imports torch: only in the worker that asks

    whole, masked = intervene(lvlm, [Intervention(canvas, text, masks, fill)])[0]
    return float(np.exp(whole.mean())), np.exp(masked.mean(1))


def _area(first: float, between: np.ndarray, last: float) -> float:
    """The area under a curve over equal steps from 0 to 1, by trapezoids."""
    return float(np.trapezoid([first, *between, last], dx=1 / (len(between) + 1)))


def _whole(film: np.ndarray) -> Box:
    return 0.0, 0.0, float(film.shape[1]), float(film.shape[0])
