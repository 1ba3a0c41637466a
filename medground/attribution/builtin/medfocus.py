"""MedFocus: the part of a film that carries an answer, its anatomical name, and the words that depend on it.

Parts are proposed by the anatomy and by the maps of other methods, and judged by exchange with a normal film alone
(`medground.attribution.exchange`). Three outputs, each with its own question:

- *evidence*: the part that carries the answer, wherever it is, inside or outside anatomy;
- *concepts*: the anatomical regions by their signed effect; one is named only where its effect is positive;
- *tokens*: what each word of the answer loses without the evidence.

The verdict says what kind of explanation was found; see `VERDICTS`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import MedgroundError
from ...geometry import Box, Letterbox
from .. import candidates
from ..exchange import LEAST, Film, Part, Tested, Tests, begin, native_boxes, test
from ..method import Attribution, Item
from ..registry import method, register

if TYPE_CHECKING:
    from ...lvlm import LVLM

VERDICTS = {
    "anatomy": "an anatomical region carries the answer",
    "elsewhere": "a part carries the answer, but no anatomical region does",
    "several": "several parts carry it: necessary together, or each sufficient alone",
    "not local": "no part of the film carries the answer",
}
#: Which output is submitted as boxes: labels that draw the finding are held against the evidence, labels that draw the
#: anatomical region that a report names against the concept, where there is one.
OUTPUTS = {"finding": "evidence", "region": "concept"}


@dataclass(frozen=True)
class Explanation:
    """What was found about one case."""

    verdict: str  # of `VERDICTS`
    evidence: list[Tested]  # the part that carries the answer; with `several`, its parts
    together: bool | None  # with `several`: necessary together (True), or each sufficient (False)
    concepts: list[Tested]  # anatomical regions by their evidence, best first; effects are signed
    tests: Tests
    letterbox: Letterbox  # between native pixels and the canvas of the parts

    @property
    def concept(self) -> Tested | None:
        """The anatomical region that carries the answer, where one does."""
        best = self.concepts[0] if self.concepts else None
        return best if best and self.verdict == "anatomy" else None


def _needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    needs = {"model", "concepts", "normal"}
    for source in settings["sources"]:
        needs |= method(source).needs
    return tuple(sorted(needs))


def _passes(settings: Mapping[str, Any]) -> dict[str, int]:
    parts = candidates.CONCEPTS + len(candidates.PAIRS) + 1 + len(candidates.LEVELS) * len(settings["sources"])
    parts += (2 * candidates.CELLS**2 - 2 * candidates.CELLS + 1) if settings["plain_grid"] else 0
    parts += candidates.MORE  # the second round
    passes = {"forward": 2 + 1 + 1 + 2 * parts}
    for source in settings["sources"]:
        for kind, count in (method(source).passes or {}).items():
            passes[kind] = passes.get(kind, 0) + count
    return passes


@register("medfocus", group="medfocus", paper="MedFocus", needs=_needs, passes=_passes)
def medfocus(
    lvlm: LVLM,
    items: Sequence[Item],
    *,
    output: Literal["declared", "evidence", "concept"] = "declared",
    sources: Sequence[str] = ("lrp",),
    plain_grid: bool = False,
) -> list[Attribution]:
    """Explain each item's answer by exchange with its normal film; boxes in native pixels, none where not local.

    Parameters
    ----------
    output
        What goes into ``boxes``: the evidence, the concept, or as `OUTPUTS` declares for the item's kind of label.
        Where no concept carries the answer, the evidence is given.
    sources
        Methods whose maps propose nested parts beside the anatomy. Without any, anatomy alone is tested.
    plain_grid
        Whether a plain grid proposes parts, too; it needs neither gradients nor attention.

    The note holds ``verdict`` (`VERDICTS`), ``region`` (the concept that carries the answer, or null), ``total`` (nats
    that the answer loses on the normal film), ``contrast`` of the evidence over the total, and with `several`
    ``together``. Raises MedgroundError for an item without a normal film.
    """
    explanations = explain(lvlm, items, sources, plain_grid)
    return [_attribution(lvlm, item, found, output) for item, found in zip(items, explanations, strict=True)]


def explain(lvlm: LVLM, items: Sequence[Item], sources: Sequence[str], plain_grid: bool = False) -> list[Explanation]:
    """The explanation of each item; the settings are those of `medfocus`."""
    films = [_film(lvlm, item) for item in items]
    tests = begin(lvlm, films)
    live = [number for number, done in enumerate(tests) if done.total >= LEAST]
    proposed = {
        n: candidates.anatomy(film, item.concepts) for n, (film, item) in enumerate(zip(films, items, strict=True))
    }
    for source in sources:
        for number, found in zip(live, method(source).attribute(lvlm, [items[n] for n in live]), strict=True):
            proposed[number] += candidates.levels(films[number], found, source)
            tests[number].forwards += found.forwards
    if plain_grid:
        for number in live:
            proposed[number] += candidates.cells(films[number])
    _round(lvlm, films, tests, proposed)
    pieces: dict[int, list[Part]] = {}
    pairs: dict[int, list[tuple[Tested, Tested, Part]]] = {}
    for number in live:
        carriers = tests[number].carriers()
        pieces[number] = candidates.split(carriers[0]) if carriers else []
        pairs[number] = _coalitions(tests[number], carriers[0].share if carriers else math.inf)
    _round(lvlm, films, tests, {n: pieces[n] + [union for *_, union in pairs[n]] for n in live})
    return [_conclude(films[number], done, pairs.get(number, [])) for number, done in enumerate(tests)]


def _film(lvlm: LVLM, item: Item) -> Film:
    if item.normal is None:
        raise MedgroundError(f"case {item.case_id} has no normal film, which MedFocus exchanges parts with")
    height, width = item.film.shape
    letterbox = lvlm.letterbox(width, height)
    canvas, normal = lvlm.canvas([item.film, item.normal])
    x1, y1, x2, y2 = (round(edge) for edge in letterbox.to_canvas((0.0, 0.0, float(width), float(height))))
    inside = np.zeros(tuple(canvas.shape), bool)
    inside[y1:y2, x1:x2] = True
    return Film(canvas, normal, lvlm.text(item.prompt, item.answer, width, height), letterbox, inside)


def _round(lvlm: LVLM, films: Sequence[Film], tests: Sequence[Tests], parts: Mapping[int, list[Part]]) -> None:
    asked = [number for number, some in parts.items() if some]
    if asked:
        test(lvlm, [films[n] for n in asked], [tests[n] for n in asked], [parts[n] for n in asked])


def _coalitions(done: Tests, most: float) -> list[tuple[Tested, Tested, Part]]:
    """Pairs of parts that may carry the answer between them: both only necessary, or both only sufficient."""
    necessary = [some for some in done.tested if some.necessary(done.total) and not some.sufficient(done.total)]
    sufficient = [some for some in done.tested if some.sufficient(done.total) and not some.necessary(done.total)]
    return candidates.unions(necessary, most) + candidates.unions(sufficient, most)


def _conclude(film: Film, done: Tests, pairs: Sequence[tuple[Tested, Tested, Part]]) -> Explanation:
    named = [some for some in done.tested if some.part.source == "concept"]
    concepts = sorted(named, key=lambda some: -some.evidence)
    carriers = done.carriers() if done.total >= LEAST else []
    if not carriers:
        return Explanation("not local", [], None, concepts, done, film.letterbox)
    best = carriers[0]
    members, together = _members(film, done, best, pairs)
    if len(members) > 1:
        return Explanation("several", members, together, concepts, done, film.letterbox)
    carried = bool(concepts) and concepts[0].contrast > 0 and concepts[0].carries(done.total)
    verdict = "anatomy" if carried else "elsewhere"
    return Explanation(verdict, members, None, concepts, done, film.letterbox)


def _members(
    film: Film, done: Tests, best: Tested, pairs: Sequence[tuple[Tested, Tested, Part]]
) -> tuple[list[Tested], bool | None]:
    """The parts that the best carrier consists of: itself, one piece that carries the answer alone, or several."""
    by_mask = {some.part.mask.tobytes(): some for some in done.tested}
    for first, second, union in pairs:
        if (union.mask & film.inside).tobytes() == best.part.mask.tobytes():
            return [first, second], first.necessary(done.total)
    pieces = [by_mask[part.mask.tobytes()] for part in candidates.split(best) if part.mask.tobytes() in by_mask]
    whole = [piece for piece in pieces if piece.carries(done.total)]
    if whole:
        return [max(whole, key=lambda piece: piece.evidence)], None
    for together in (True, False):
        members = [piece for piece in pieces if (piece.necessary if together else piece.sufficient)(done.total)]
        if len(members) > 1:
            return members, together
    return [best], None


def _attribution(lvlm: LVLM, item: Item, found: Explanation, output: str) -> Attribution:
    height, width = item.film.shape
    done = found.tests
    kind = OUTPUTS[item.labels] if output == "declared" else output
    boxes: list[Box] = []
    if kind == "concept" and found.concept:
        boxes = list(dict(candidates.regions(item.concepts))[found.concept.part.name])
    else:
        for some in found.evidence:
            boxes += native_boxes(some.part.mask, found.letterbox, candidates.LEAST_COMPONENT)
    lost = sum((some.without for some in found.evidence), np.zeros_like(done.original)) if found.evidence else None
    tokens = done.total_tokens if lost is None else lost
    text = lvlm.text(item.prompt, item.answer, width, height)
    note: dict[str, Any] = {
        "verdict": found.verdict,
        "region": found.concept.part.name if found.concept else None,
        "total": done.total,
        "contrast": max((some.contrast / done.total for some in found.evidence), default=None),
        "parts": [some.part.name for some in found.evidence],
    }
    if found.together is not None:
        note["together"] = found.together
    return Attribution(
        item.case_id,
        boxes=boxes,
        concepts=[
            (some.part.name, candidates.outline(some.part.name, item.concepts), some.contrast)
            for some in found.concepts
        ],
        tokens=list(zip(text.tokens, tokens.tolist(), strict=True)),
        note=note,
        forwards=done.forwards,
    )
