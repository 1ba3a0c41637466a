"""What each part of MedFocus is worth, on dev cases: ``python -m benchmarks.medfocus``.

One part is changed at a time: where candidates come from, what exchanged parts are filled with, how much size counts.
For every variant: how much of the evidence lies on the true cause, by kind of cause; how often what is submitted is
denser on the own cause than on the other one of the pair; how it fits the experts' boxes, by kind of label and by mode;
how often no place is named; *idle*, how much a fill moves the answer where it should not; and how many forwards a case
costs. Intervals resample patients. ``--chart`` draws quality against forwards, of what searches more or less.
``--test`` looks at the test cases, as shipped and no variant: what is chosen is chosen on dev.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from scipy.spatial import Delaunay

from medground import charts, params, records
from medground.anatomy import Locator, References
from medground.anatomy.registration import SIDE
from medground.attribution import Item, candidates, exchange
from medground.attribution.builtin.medfocus import OUTPUTS, Explanation, explain
from medground.attribution.exchange import Film, Part
from medground.attribution.items import Items
from medground.editing.radedit import PROMPTS, RadEdit, Sheet, seed_of
from medground.errors import MedgroundError, friendly
from medground.geometry import Box, Letterbox, area, box_of, intersect
from medground.images import read_film
from medground.lvlm import load_lvlm
from medground.lvlm.interventions import FILLS, canvas_masks
from medground.lvlm.prompts import MODES
from medground.scoring import box_metrics, score_case
from medground.scoring.tables import paired

RESAMPLES = 2000


@dataclass(frozen=True)
class Case:
    """A case with what is known about it."""

    row: dict  # of records.CASES
    item: Item
    twin: np.ndarray | None  # uint8 [H, W], the patient without finding and marks
    regions: list[Box]
    cause: list[Box] | None
    other: list[Box] | None  # the cause of the other case of its pair


@dataclass(frozen=True)
class Outcome:
    """What one variant made of one case."""

    case: Case
    verdict: str
    on_cause: float  # share of the evidence's area inside the true cause; nan where there is no place
    follows: float  # whether what is submitted is denser on the own cause of a pair; nan without one
    iou: float  # of what is submitted with the expert's boxes
    idle: float  # share of the most that the answer changes by without a region that the cause does not touch
    forwards: int


Variant = tuple[str, Callable[[Item, Case], Item], dict, dict]  # name, change of the item, settings, constants


SOURCES = ("gradient_attention", "attention_head")  # as shipped
SEARCHES = (
    "anatomy alone", "levels of attention_head alone", "half of the levels", "without marks", "as shipped",
    "boxes that the model prints, too", "levels of LRP, too", "anatomy and a plain grid",
    "all of these and a grid, both questions of every part",
)  # fmt: skip
_anatomy = candidates.anatomy  # as shipped, whatever a variant puts in its place
WORTH_ASKING = "builtin.medfocus._worth_asking"


def variants() -> Iterator[Variant]:
    """The shipped settings, then each part changed."""
    yield "as shipped", _same, {}, {}
    yield "anatomy alone", _same, {"sources": ()}, {}
    yield "anatomy and a plain grid", _same, {"sources": (), "plain_grid": True}, {}
    for source in ("attention_head", "gradient_attention", "lrp", "rollout", "integrated_gradients"):
        yield f"levels of {source} alone", _same, {"sources": (source,)}, {}
    yield "levels of LRP, too", _same, {"sources": (*SOURCES, "lrp")}, {}
    yield "boxes that the model prints, too", _same, {"sources": (*SOURCES, "prompting")}, {}
    yield "without marks", _same, {}, {"candidates.MARKS": 0}
    everything = {"sources": (*SOURCES, "lrp", "rollout", "prompting"), "plain_grid": True}
    yield "all of these and a grid, both questions of every part", _same, everything, {WORTH_ASKING: lambda t: t.tested}
    yield "no part named that does not suffice", _same, {}, {"exchange.Tests.needed": lambda tests: None}
    yield "levels alone, no anatomy", _without_concepts, {}, {}
    yield "concepts by their shapes, not by their boxes", _same, {}, {"candidates.anatomy": _shaped}
    yield "thirds of either lung, too", _same, {}, {"candidates.anatomy": _with_thirds}
    yield "marks as large as suffices", _same, {}, {"exchange.Tests.best": lambda t: next(iter(t.carriers()), None)}
    yield "boxes that do not follow lines", _same, {}, {"exchange.CUTS": 0}
    yield "half of the levels", _same, {}, {"candidates.LEVELS": candidates.LEVELS[::2]}
    yield "filled from the patient's twin (upper bound)", _twin, {}, {}
    yield "filled by RadEdit, which repaints the film", _repainted, {}, {}
    yield "filled with black", _black, {}, {}
    yield "filled with the film, blurred", _blurred, {}, {}
    for power in (0.0, 0.25, 0.6):
        yield f"size to the power of {power}", _same, {}, {"exchange.SIZE": power}
    for share in (0.15, 0.5):
        yield f"necessary from {share:.0%} of the most", _same, {}, {"exchange.SHARE": share}
    for share in (0.12, 0.3):
        yield f"a place up to {share:.0%} of the film", _same, {}, {"exchange.LOCAL": share}


@friendly
def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=1, help="take every so-manieth case")
    parser.add_argument("--only", default="", help="variants whose names match this expression")
    parser.add_argument("--test", action="store_true", help="test cases, as shipped")
    parser.add_argument("--chart", type=Path, help="where to draw quality against forwards, as SVG")
    parser.add_argument("--workers", type=int, default=1, help="processes; each takes a model at a time")
    given, p = parser.parse_args(arguments), params.load()
    split, only = ("test", "as shipped") if given.test else ("dev", given.only)
    jobs = [(model, p.sources, split, given.each, only) for model in p.models]
    outcomes: dict[str, list[Outcome]] = {}
    with ProcessPoolExecutor(given.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for of_model in pool.map(of_one, jobs):
            for name, some in of_model.items():
                outcomes.setdefault(name, []).extend(some)
    print(table(outcomes, p.seed))
    for name, rows in outcomes.items():
        if whole := pairs(rows):
            print(f"Pairs followed under both models, {name}: {_mean(whole, lambda one: one.follows, p.seed)}")
    if given.chart:
        given.chart.write_text(chart(outcomes))


def of_one(job: tuple[str, list[str], str, int, str]) -> dict[str, list[Outcome]]:
    """What each variant whose name matches ``only`` makes of every ``each``-th case of a model, by its name."""
    model, sources, split, each, only = job
    torch.set_num_threads(1)
    cases = known_cases(model, sources, split)[::each]
    lvlm, outcomes = load_lvlm(model), {}
    for name, change, settings, constants in variants():
        if not re.search(only, name):
            continue
        chosen = [case for case in cases if change is not _twin or case.twin is not None]
        with ExitStack() as changed:
            for constant, value in constants.items():
                changed.enter_context(patch(f"medground.attribution.{constant}", value))
            found = explain(lvlm, [change(case.item, case) for case in chosen], **{"sources": SOURCES, **settings})
            outcomes[name] = [_light(one) for one in map(outcome, chosen, found)]
    return outcomes


def _light(one: Outcome) -> Outcome:
    """The same without films, so that it goes from process to process and many are held."""
    none = np.zeros((1, 1), np.uint8)
    item = replace(one.case.item, film=none, normal=None)
    return replace(one, case=replace(one.case, item=item, twin=None))


def known_cases(model: str, sources: list[str], split: str, root: Path = Path(".")) -> list[Case]:
    """The cases of a model that the filter kept or whose cause is known, with what is known about them."""
    samples = {
        (source, row["index"]): row
        for source in sources
        for row in records.read_rows(root / f"data/samples/{source}/samples.parquet", records.SAMPLES)
    }
    rows = [
        row
        for row in paired(records.read_rows(root / "data/cases/cases.parquet", records.CASES))
        if row["model"] == model
        and row["split"] == split
        and (row["kept"] or row["pair"] or row["control"] == "global")
    ]
    if not rows:
        raise MedgroundError(f"data/cases/cases.parquet has no {split} case of {model}; run `dvc repro verify`")
    make, found = Items(root, "concepts", normal=True), []
    for row in sorted(rows, key=lambda row: (row["question"], row["answer"], row["source"], row["index"])):
        sample = samples[row["source"], row["index"]]
        twin = read_film(root / sample["twin"]) if sample["twin"] else None
        cause, other = ([tuple(box) for box in boxes or []] or None for boxes in (row["cause"], row.get("other")))
        found.append(Case(row, make(row), twin, [tuple(box) for box in sample["regions"]], cause, other))
    return found


def outcome(case: Case, found: Explanation) -> Outcome:
    """Hold an explanation against what is known about its case."""
    height, width = case.item.film.shape
    boxes = evidence_boxes(found, width, height)
    named = dict(candidates.regions(case.item.concepts))
    submitted = list(boxes)
    if OUTPUTS[case.item.labels] == "concept" and found.concept:
        submitted += named[found.concept.part.name]
    covered = sum(area(box) for box in boxes)
    inside, idle = np.nan, np.nan
    if case.cause:
        inside = sum(area(both) for box in boxes for cause in case.cause if (both := intersect(box, cause)))
        inside = inside / covered if covered else 0.0
        moved = [
            abs(some.effect)
            for some in found.concepts
            if not any(intersect(box, cause) for box in named[some.part.name] for cause in case.cause)
        ]
        idle = float(np.mean(moved)) / found.tests.most if moved else np.nan
    follows = np.nan
    if case.other:
        known = {"cause": case.cause, "other": case.other}
        follows = (
            score_case({"boxes": submitted}, width, height, case.regions, **known)["follows"] if submitted else 0.0
        )
    iou = box_metrics(submitted, case.regions)["iou"]
    return Outcome(case, found.verdict, inside, follows, iou, idle, found.tests.forwards)


def evidence_boxes(found: Explanation, width: int, height: int) -> list[Box]:
    """The evidence as native boxes of a film of that size."""
    return [
        box
        for some in found.evidence
        for box in exchange.native_boxes(some.part.mask, found.letterbox, candidates.LEAST_COMPONENT)
    ]


def table(outcomes: dict[str, list[Outcome]], seed: int) -> str:
    """Markdown: a row a variant."""
    kinds = sorted({one.case.row["control"] for rows in outcomes.values() for one in rows})
    placed = [kind for kind in kinds if kind != "global"]
    head = [f"on the cause, {kind}" for kind in placed] + ["follows"] + [f"IoU, {labels}" for labels in OUTPUTS]
    head += ["IoU, " + mode for mode in MODES] + [f"not local, {kind}" for kind in kinds] + ["idle", "forwards"]
    lines = [f"| | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name, rows in outcomes.items():
        by_kind = {kind: [one for one in rows if one.case.row["control"] == kind] for kind in kinds}
        honest = by_kind.get("honest", [])
        cells = [_mean(by_kind[kind], lambda one: one.on_cause, seed) for kind in placed]
        cells.append(_mean(rows, lambda one: one.follows, seed))
        for labels in OUTPUTS:
            cells.append(_mean([o for o in honest if o.case.item.labels == labels], lambda one: one.iou, seed))
        for mode in MODES:
            cells.append(_mean([o for o in honest if o.case.row["mode"] == mode], lambda one: one.iou, seed))
        cells += [_mean(by_kind[kind], lambda one: one.verdict == "not local", seed) for kind in kinds]
        cells += [_mean(rows, lambda one: one.idle, seed), f"{np.mean([one.forwards for one in rows]):.1f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def pairs(rows: list[Outcome]) -> list[Outcome]:
    """One for each pair of which both cases are there, which follows where both do: what the board counts."""
    both: dict[str, list[Outcome]] = {}
    for one in rows:
        if one.case.row["pair"]:
            both.setdefault(one.case.row["pair"], []).append(one)
    return [replace(some[0], follows=min(one.follows for one in some)) for some in both.values() if len(some) == 2]


def chart(outcomes: dict[str, list[Outcome]]) -> str:
    """An SVG of quality against forwards: a point for each variant of `SEARCHES` that was measured."""
    panels = {
        "IoU of what is submitted, honest": lambda one: one.iou if one.case.row["control"] == "honest" else np.nan,
        "share of the evidence on the cause, marks": lambda one: (
            one.on_cause if one.case.row["control"] == "shortcut" else np.nan
        ),
    }
    points = {
        name: (
            float(np.mean([one.forwards for one in outcomes[name]])),
            [float(np.nanmean([value(one) for one in outcomes[name]])) for value in panels.values()],
        )
        for name in SEARCHES
        if name in outcomes
    }
    return charts.against(points, list(panels), "forwards a case, mean", "What more search buys")


def _mean(rows: list[Outcome], value: Callable[[Outcome], float], seed: int) -> str:
    """Mean with its 95 % interval over patients; how many cases."""
    pairs = [(one.case.row["patient_id"], float(value(one))) for one in rows]
    pairs = [(patient, number) for patient, number in pairs if np.isfinite(number)]
    if not pairs:
        return ""
    patients = sorted({patient for patient, _ in pairs})
    sums = np.array([[sum(n for p, n in pairs if p == patient), sum(p == patient for p, _ in pairs)]
                     for patient in patients], float)  # fmt: skip
    drawn = np.random.default_rng(seed).integers(0, len(patients), (RESAMPLES, len(patients)))
    means = sums[drawn, 0].sum(1) / sums[drawn, 1].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{np.mean([n for _, n in pairs]):.3f} [{low:.3f}, {high:.3f}] ({len(pairs)})"


def _same(item: Item, case: Case) -> Item:
    return item


def _twin(item: Item, case: Case) -> Item:
    return replace(item, normal=case.twin)


def _repainted(item: Item, case: Case) -> Item:
    painter, (height, width) = _painter(), item.film.shape
    sheet = Sheet.of(item.film, [(0.0, 0.0, float(width), float(height))], 0, painter.size)
    change, keep = (mask[None, None] for mask in sheet.masks("region_removed"))
    seed = seed_of(params.load().seed, case.row["source"], case.row["index"], 0)
    (canvas,) = painter.edit(sheet.canvas[None], [[PROMPTS["background_normal"]]], change, keep, [seed])
    return replace(item, normal=sheet.finish("region_removed", canvas[0]))


@cache
def _painter() -> RadEdit:
    return RadEdit.of(params.load().edit.radedit.model_dump())


def _black(item: Item, case: Case) -> Item:
    return replace(item, normal=np.zeros_like(item.film))


def _blurred(item: Item, case: Case) -> Item:
    film = torch.from_numpy(item.film.astype(np.float32) / 255)
    blurred = FILLS["blur"](film, torch.zeros_like(film, dtype=torch.bool)[None])
    return replace(item, normal=(blurred.numpy() * 255).round().clip(0, 255).astype(np.uint8))


def _with_thirds(film: Film, concepts: Sequence[tuple[str, Box]]) -> list[Part]:
    """The parts of anatomy, and the upper, middle and lower third of each lung."""
    lungs = [(name, box) for name, box in concepts if name in candidates.PAIRS["both lungs"]]
    thirds = [
        (f"{name}, third {n + 1}", [(x1, y1 + n * (y2 - y1) / 3, x2, y1 + (n + 1) * (y2 - y1) / 3)])
        for name, (x1, y1, x2, y2) in lungs
        for n in range(3)
    ]
    masks = canvas_masks(film.letterbox, [boxes for _, boxes in thirds])
    return _anatomy(film, concepts) + [Part(name, "third", mask) for (name, _), mask in zip(thirds, masks, strict=True)]


def _shaped(film: Film, concepts: Sequence[tuple[str, Box]]) -> list[Part]:
    """The parts of anatomy with the convex shapes that most of the references most like the film give them."""
    x1, y1, x2, y2 = map(int, box_of(film.inside) or (0, 0, 0, 0))
    crop = (film.canvas[y1:y2, x1:x2] * 255).round().to(torch.uint8).cpu().numpy()
    square, locator = Letterbox.fit(x2 - x1, y2 - y1, SIDE), _locator()
    contrast = locator.how.contrast(square.apply(crop))
    warp = locator.atlas.template.register(contrast)
    alike = locator.atlas.alike(contrast, warp)
    rows, columns = np.mgrid[: y2 - y1, : x2 - x1] + 0.5
    left, top, right, bottom = square.to_canvas((0.0, 0.0, float(x2 - x1), float(y2 - y1)))
    at = np.stack([top + rows * (bottom - top) / (y2 - y1), left + columns * (right - left) / (x2 - x1)], -1)
    shapes: dict[str, np.ndarray] = {}
    for name in dict(concepts):
        concept = locator.references.concepts.index(name)
        outlines = [warp(locator.atlas.outlines[number][concept]) for number in alike]
        votes = sum(Delaunay((o + 1) * SIDE / 2).find_simplex(at) >= 0 for o in outlines if len(o) > 2)
        shapes[name] = np.zeros_like(film.inside)
        shapes[name][y1:y2, x1:x2] = 2 * votes > len(alike)
    masks = {name: np.any([shapes[side] for side in candidates.PAIRS.get(name, (name,))], 0)
             for name, _ in candidates.regions(concepts)}  # fmt: skip
    parts = [replace(part, mask=masks[part.name]) for part in _anatomy(film, concepts) if part.name in masks]
    return [*parts, Part(candidates.ELSEWHERE, "elsewhere", film.inside & ~np.any(list(shapes.values()), 0))]


@cache
def _locator() -> Locator:
    return Locator(References.read(Path("data/references/references.parquet")))


def _without_concepts(item: Item, case: Case) -> Item:
    return replace(item, concepts=())


if __name__ == "__main__":
    main()
