"""MedFocus: the part of a film that carries an answer, its anatomical name, and the words that depend on it.

Parts are proposed by the anatomy, by marks on the film and by other methods, and judged by nothing but an exchange with
a normal film (`medground.attribution.exchange`). Three outputs, each with its own question:

- *evidence*: the place that carries the answer, wherever it is, inside or outside anatomy;
- *concepts*: the anatomical regions by their signed effect; of those that carry the answer, the one is named that the
  evidence fits best, since whatever contains the cause carries the answer, too;
- *tokens*: what each word of the answer loses without the evidence.

The verdict says what kind of explanation was found; see `VERDICTS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import MedgroundError
from ...geometry import Box, Letterbox
from .. import candidates
from ..exchange import LEAST, LOCAL, Film, Part, Tested, Tests, ask_alone, ask_without, begin, native_boxes
from ..method import Attribution, Item
from ..registry import method, register

if TYPE_CHECKING:
    from ...lvlm import LVLM

_SECOND = ("component", "union")  # sources of the second round
VERDICTS = {
    "anatomy": "an anatomical region carries the answer",
    "elsewhere": "a part carries the answer, but no anatomical region does",
    "several": "several parts carry it: necessary together, or each sufficient alone; of a part that is necessary and "
    "does not suffice, the others may be unknown",
    "not local": "no place on the film carries the answer",
}
#: Which output is submitted as boxes: labels that draw the finding are held against the evidence; labels that draw the
#: anatomical region that a report names against the concept, where there is one, with the evidence in it first.
OUTPUTS = {"finding": "evidence", "region": "concept"}


@dataclass(frozen=True)
class Explanation:
    """What was found about one case."""

    verdict: str  # of `VERDICTS`
    evidence: list[Tested]  # the part that carries the answer; with `several`, those of its parts that are known
    together: bool | None  # with `several`: necessary together (True), or each sufficient (False)
    concept: Tested | None  # the anatomical region that carries the answer, where one does
    concepts: list[Tested]  # anatomical regions by their effect, largest first
    tests: Tests
    letterbox: Letterbox  # between native pixels and the canvas of the parts


def _needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    needs = {"model", "concepts", "normal"}
    for source in settings["sources"]:
        needs |= method(source).needs
    return tuple(sorted(needs))


def _passes(settings: Mapping[str, Any]) -> dict[str, int]:
    parts = candidates.CONCEPTS + len(candidates.PAIRS) + 1 + candidates.MARKS
    parts += len(candidates.LEVELS) * len(settings["sources"])
    parts += (2 * candidates.CELLS**2 - 2 * candidates.CELLS + 1) if settings["plain_grid"] else 0
    parts += candidates.MORE  # the second round
    passes = {"forward": 2 + 4 + 2 * parts}  # at most: the second question is mostly asked of few parts
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
    sources: Sequence[str] = ("gradient_attention", "attention_head"),
    plain_grid: bool = False,
) -> list[Attribution]:
    """Explain each item's answer by exchange with its normal film; boxes in native pixels, none where not local.

    Parameters
    ----------
    output
        What goes into ``boxes``, best first: the evidence, the evidence and then the concept that carries the answer,
        or as `OUTPUTS` declares for the item's kind of label.
    sources
        Methods that propose parts beside anatomy and marks: nested ones by a map, or their boxes, as ``prompting``.
    plain_grid
        Whether a plain grid proposes parts, too; it needs neither gradients nor attention.

    The note holds ``verdict`` (`VERDICTS`), ``region`` (the concept that carries the answer, or null), ``most`` (nats
    that the answer loses at most), ``effect`` of the evidence over that, its ``parts``, and with `several`
    ``together``. Raises MedgroundError for an item without a normal film.
    """
    explanations = explain(lvlm, items, sources, plain_grid)
    return [_attribution(lvlm, item, found, output) for item, found in zip(items, explanations, strict=True)]


def explain(lvlm: LVLM, items: Sequence[Item], sources: Sequence[str], plain_grid: bool = False) -> list[Explanation]:
    """The explanation of each item; the settings are those of `medfocus`."""
    films = [_film(lvlm, item) for item in items]
    tests = begin(lvlm, films)
    proposed = [
        candidates.anatomy(film, item.concepts) + candidates.marks(film)
        for film, item in zip(films, items, strict=True)
    ]
    for source in sources:
        found = method(source).attribute(lvlm, items)
        for film, done, parts, attribution in zip(films, tests, proposed, found, strict=True):
            parts += candidates.proposed(film, attribution, source)
            done.forwards += attribution.forwards
    if plain_grid:
        for film, parts in zip(films, proposed, strict=True):
            parts += candidates.cells(film)
    ask_without(lvlm, films, tests, proposed)
    ask_alone(lvlm, films, tests, [_worth_asking(done) for done in tests])
    ask_alone(lvlm, films, tests, [[] if done.carriers() else _places(done) for done in tests])
    pairs = [_coalitions(done) for done in tests]
    pieces = [candidates.split(best) if (best := done.best()) else [] for done in tests]
    unions = [[union for *_, union in some] for some in pairs]
    ask_without(lvlm, films, tests, [a + b for a, b in zip(pieces, unions, strict=True)])
    ask_alone(lvlm, films, tests, [[s for s in done.tested if s.part.source in _SECOND] for done in tests])
    return [_conclude(*each) for each in zip(films, tests, pairs, strict=True)]


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


def _worth_asking(done: Tests) -> list[Tested]:
    """What may carry the answer: of what is not necessary, nothing does."""
    return [some for some in done.tested if some.necessary(done.most)]


def _places(done: Tests) -> list[Tested]:
    """What may carry the answer with another part, each sufficient: all places, where some exchange matters."""
    return [some for some in done.tested if some.local] if done.most >= LEAST else []


def _coalitions(done: Tests) -> list[tuple[Tested, Tested, Part]]:
    """Pairs of places that may carry the answer between them: both only necessary, or both only sufficient."""
    most, places, best = done.most, _places(done), done.best()
    necessary = [some for some in places if some.necessary(most) and not some.sufficient(most)]
    sufficient = [some for some in places if some.sufficient(most) and not some.necessary(most)]
    within = best.share if best else LOCAL
    return candidates.unions(necessary, within) + candidates.unions(sufficient, within)


def _conclude(film: Film, done: Tests, pairs: Sequence[tuple[Tested, Tested, Part]]) -> Explanation:
    concepts = [some for some in done.tested if some.part.source in ("concept", "pair")]
    concepts.sort(key=lambda some: -some.effect)
    if not (best := done.best()):
        needed = done.needed()
        verdict, members = ("several", [needed]) if needed else ("not local", [])
        return Explanation(verdict, members, True if needed else None, None, concepts, done, film.letterbox)
    members, together = _members(film, done, best, pairs)
    if len(members) > 1:
        return Explanation("several", members, together, None, concepts, done, film.letterbox)
    carrying = [some for some in concepts if some.carries(done.most)]
    concept = max(carrying, key=lambda some: _overlap(some, members[0]), default=None)
    return Explanation("anatomy" if concept else "elsewhere", members, None, concept, concepts, done, film.letterbox)


def _overlap(a: Tested, b: Tested) -> float:
    return float((a.part.mask & b.part.mask).sum() / (a.part.mask | b.part.mask).sum())


def _members(
    film: Film, done: Tests, best: Tested, pairs: Sequence[tuple[Tested, Tested, Part]]
) -> tuple[list[Tested], bool | None]:
    """The parts that the best carrier consists of: itself, one piece that carries the answer alone, or several."""
    by_mask = {some.part.mask.tobytes(): some for some in done.tested}
    for first, second, union in pairs:
        if (union.mask & film.inside).tobytes() == best.part.mask.tobytes():
            return [first, second], first.necessary(done.most)
    pieces = [by_mask[part.mask.tobytes()] for part in candidates.split(best) if part.mask.tobytes() in by_mask]
    whole = [piece for piece in pieces if piece.carries(done.most)]
    if whole:
        return [max(whole, key=lambda piece: piece.evidence)], None
    for together in (True, False):
        members = [piece for piece in pieces if (piece.necessary if together else piece.sufficient)(done.most)]
        if len(members) > 1:
            return members, together
    return [best], None


def _attribution(lvlm: LVLM, item: Item, found: Explanation, output: str) -> Attribution:
    height, width = item.film.shape
    done = found.tests
    kind = OUTPUTS[item.labels] if output == "declared" else output
    boxes: list[Box] = []
    for some in found.evidence:
        boxes += native_boxes(some.part.mask, found.letterbox, candidates.LEAST_COMPONENT)
    if kind == "concept" and found.concept:
        boxes += dict(candidates.regions(item.concepts))[found.concept.part.name]
    lost = sum((some.without for some in found.evidence), np.zeros_like(done.original)) if found.evidence else None
    tokens = done.total_tokens if lost is None else lost
    text = lvlm.text(item.prompt, item.answer, width, height)
    note: dict[str, Any] = {
        "verdict": found.verdict,
        "region": found.concept.part.name if found.concept else None,
        "most": done.most,
        "effect": max((some.effect / done.most for some in found.evidence), default=None),
        "parts": [some.part.name for some in found.evidence],
    }
    if found.together is not None:
        note["together"] = found.together
    return Attribution(
        item.case_id,
        boxes=boxes,
        concepts=[
            (some.part.name, candidates.outline(some.part.name, item.concepts), some.effect) for some in found.concepts
        ],
        tokens=list(zip(text.tokens, tokens.tolist(), strict=True)),
        note=note,
        forwards=done.forwards,
    )
