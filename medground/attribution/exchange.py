"""Which part of a film carries an answer, judged by exchanging parts with a normal film of the same patient's shape.

A part is asked up to two questions. *Without* it: the film with the part taken from the normal film; what the answer
loses says how necessary the part is. *Alone*: the normal film with the part taken from the film; what the answer loses
then says how sufficient it is. Both are read against the most that any exchange costs the answer.

==================  ===================  ==================================================================
loss without        loss alone           the part
==================  ===================  ==================================================================
all of the most     nothing              carries the answer
all of the most     all of the most      is necessary, together with another part (a conjunction)
nothing             nothing              is sufficient, and so is another part (a disjunction)
nothing             all of the most      has nothing to do with the answer
==================  ===================  ==================================================================

A part that is not necessary cannot carry the answer, so that the second question is mostly asked of those that are.

Necessity and sufficiency as in Pearl, "Probabilities of causation", Synthese 1999; the two-sided test of a part is the
contrast of Dabkowski and Gal, "Real time image saliency for black box classifiers", NeurIPS 2017, in log-odds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..geometry import Box, Letterbox, box_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..lvlm.base import LVLM, Text

#: A part is necessary when the answer loses at least this share of the most without it, and sufficient when it loses
#: less than this on the part alone. Chosen on 302 dev cases of eight models: a smaller share names a place for more of
#: the honest answers, and below this one for more of the global ones, too.
SHARE = 0.25
#: Nats. Where no exchange costs the answer more, it is always at least half as likely: no part carries it.
LEAST = math.log(2)
#: How much a larger part must explain to be preferred: its contrast is divided by its share of the film to this power.
SIZE = 0.4
#: Share of the film up to which a part is a place. What takes more to carry an answer is not local, unless it is one
#: organ. On dev cases of known causes the smallest carrier covered .19 at most where the cause has a place, and .24 at
#: least where it is the exposure of the whole film.
LOCAL = 0.2
#: A box that is filled less than the first is cut into halves, at most as often as the second says. On dev cases boxes
#: of thin causes come nearer to them, and those of findings stay as they are; from .6 on, findings are cut, too.
FILLED, CUTS = 0.4, 2
_CERTAIN = 1e-9  # nats under probability one, where log-odds would be infinite
TOUCHING = np.ones((3, 3), bool)  # 8-connected


@dataclass(frozen=True)
class Part:
    """A candidate: canvas pixels, bool ``[h, w]``, with a name and the source that proposed it."""

    name: str
    source: str  # concept | pair | elsewhere | mark | level | box | component | union | cell
    mask: np.ndarray


@dataclass(frozen=True)
class Film:
    """A case on the model's canvas: the film, the normal film to exchange with, and the answer to judge."""

    canvas: Tensor  # float32 [h, w] in [0, 1]
    normal: Tensor  # the same
    text: Text
    letterbox: Letterbox
    inside: np.ndarray  # bool [h, w], canvas pixels that are film and not padding


@dataclass(frozen=True)
class Tested:
    """A part after its questions. Per answer token, in nats: what the answer loses, ``[T]``."""

    part: Part
    share: float  # of the film's area, in (0, 1]
    without: np.ndarray  # log p on the film - log p without the part
    alone: np.ndarray | None = None  # log p on the film - log p on the part alone; None where it was not asked
    odds: float = -math.inf  # contrast of the log-odds, summed over the tokens: alone less without, in nats

    @property
    def effect(self) -> float:
        """What the answer loses without the part, in nats; negative where it becomes likelier."""
        return float(self.without.sum())

    @property
    def local(self) -> bool:
        """Whether the part is a place: an organ, what lies outside all of them, or at most `LOCAL` of the film."""
        return self.part.source in ("concept", "elsewhere") or self.share <= LOCAL

    def necessary(self, most: float) -> bool:
        """Whether the answer loses at least `SHARE` of the most without the part."""
        return self.effect >= SHARE * most

    def sufficient(self, most: float) -> bool:
        """Whether the part alone is known to lose less than `SHARE` of the most."""
        return self.alone is not None and float(self.alone.sum()) < SHARE * most

    def carries(self, most: float) -> bool:
        """Whether it is necessary and sufficient."""
        return self.necessary(most) and self.sufficient(most)

    @property
    def evidence(self) -> float:
        """What ranks parts: the contrast of the log-odds, for the size of the part."""
        return self.odds / self.share**SIZE


@dataclass
class Tests:
    """All parts of one case that were tested, and what they are judged against."""

    original: np.ndarray  # [T], log p of the answer's tokens on the film
    total: float  # nats that the answer loses on the normal film; may be negative, where that film moves the model, too
    total_tokens: np.ndarray  # [T], the same by token
    tested: list[Tested] = field(default_factory=list)
    forwards: int = 0

    @property
    def most(self) -> float:
        """The most that an exchange, of a part or of the whole film, costs the answer, in nats."""
        return max([self.total, *(some.effect for some in self.tested)])

    def carriers(self) -> list[Tested]:
        """The places that carry the answer, the best evidence first; none where no exchange costs it `LEAST`."""
        most = self.most
        found = [some for some in self.tested if some.local and some.carries(most)] if most >= LEAST else []
        return sorted(found, key=lambda some: -some.evidence)

    def best(self) -> Tested | None:
        """The carrier with the best evidence, or the best mark that carries the answer and that this is part of: the
        thing itself rather than as much of it as suffices. None where nothing carries the answer."""
        carriers = self.carriers()
        if not carriers or carriers[0].part.source == "union":
            return next(iter(carriers), None)
        things = [some for some in carriers if some.part.source == "mark"]
        return next((some for some in things if (some.part.mask & carriers[0].part.mask).any()), carriers[0])

    def needed(self) -> Tested | None:
        """The place of at most `LOCAL` without which the answer loses all but `SHARE` of the most, whether or not it
        carries it; of several, the one that loses most for its size. None where no exchange costs the answer `LEAST`.
        """
        least = max((1 - SHARE) * self.most, LEAST)
        found = [some for some in self.tested if some.share <= LOCAL and some.effect >= least]
        return max(found, key=lambda some: some.effect / some.share**SIZE, default=None)


def begin(lvlm: LVLM, films: Sequence[Film]) -> list[Tests]:
    """What each answer loses on the normal film altogether. Costs two forwards a film."""
    from ..lvlm.interventions import Intervention, intervene  # imports torch

    asked = [Intervention(film.canvas, film.text, film.inside[None], film.normal) for film in films]
    tests = []
    for original, masked in intervene(lvlm, asked):
        lost = original - masked[0]
        tests.append(Tests(original, float(lost.sum()), lost, forwards=2))
    return tests


def ask_without(lvlm: LVLM, films: Sequence[Film], tests: Sequence[Tests], parts: Sequence[Sequence[Part]]) -> None:
    """Ask what each film's answer loses without each of ``parts``, and add the results to its ``tests``.

    Costs a forward a part, and one a film. Parts without a pixel of film, and parts that equal one tested before, are
    passed over.
    """
    asked: list[tuple[Film, Tests, list[Part]]] = []
    for film, done, some in zip(films, tests, parts, strict=True):
        known = {_key(old.part.mask) for old in done.tested}
        fresh: dict[bytes, Part] = {}
        for part in some:
            mask = part.mask & film.inside
            if mask.any() and _key(mask) not in known:
                fresh.setdefault(_key(mask), Part(part.name, part.source, mask))
        asked.append((film, done, list(fresh.values())))
    masks = [[part.mask for part in one] for *_, one in asked]
    for (film, done, parts_of_film), lost in zip(asked, _lost(lvlm, films, tests, masks), strict=True):
        area = int(film.inside.sum())
        for part, without in zip(parts_of_film, lost, strict=True):
            done.tested.append(Tested(part, float(part.mask.sum()) / area, without))


def ask_alone(lvlm: LVLM, films: Sequence[Film], tests: Sequence[Tests], which: Sequence[Sequence[Tested]]) -> None:
    """Ask what each film's answer loses on each of ``which`` of its tested parts alone, where that was not asked yet.

    Costs as `ask_without` does.
    """
    fresh = [[some for some in wanted if some.alone is None] for wanted in which]
    masks = [[film.inside & ~some.part.mask for some in wanted] for film, wanted in zip(films, fresh, strict=True)]
    for done, wanted, lost in zip(tests, fresh, _lost(lvlm, films, tests, masks), strict=True):
        answered = {
            id(some): replace(some, alone=alone, odds=_odds(done.original, some.without, alone))
            for some, alone in zip(wanted, lost, strict=True)
        }
        done.tested = [answered.get(id(some), some) for some in done.tested]


def _lost(
    lvlm: LVLM, films: Sequence[Film], tests: Sequence[Tests], masks: Sequence[Sequence[np.ndarray]]
) -> list[list[np.ndarray]]:
    """What each film's answer loses, ``[T]``, where each of its masks is taken from the normal film."""
    from ..lvlm.interventions import Intervention, intervene  # imports torch

    asked = [number for number, some in enumerate(masks) if len(some)]
    lost: list[list[np.ndarray]] = [[] for _ in masks]
    exchanged = [Intervention(films[n].canvas, films[n].text, np.stack(list(masks[n])), films[n].normal) for n in asked]
    for number, (original, masked) in zip(asked, intervene(lvlm, exchanged), strict=True):
        lost[number] = [original - one for one in masked]
        tests[number].forwards += 1 + len(masked)
    return lost


def _odds(original: np.ndarray, without: np.ndarray, alone: np.ndarray) -> float:
    return float((log_odds(original - alone) - log_odds(original - without)).sum())


def log_odds(log_probability: np.ndarray) -> np.ndarray:
    """log p - log(1 - p), nats, of log-probabilities; they saturate at one, log-odds do not."""
    bounded = np.minimum(log_probability, -_CERTAIN)
    return bounded - np.log(-np.expm1(bounded))


def components(mask: np.ndarray, least: float) -> list[np.ndarray]:
    """The 8-connected components of a mask with at least the share ``least`` of its pixels, the largest first."""
    labels, count = ndimage.label(mask, TOUCHING)
    found = [labels == number for number in range(1, count + 1)]
    found = [some for some in found if some.sum() >= least * mask.sum()]
    return sorted(found, key=lambda some: -int(some.sum()))


def native_boxes(mask: np.ndarray, letterbox: Letterbox, least: float) -> list[Box]:
    """Tight boxes of the components of a canvas mask, in native pixels, the largest component first.

    A component that fills less than `FILLED` of its box, as a line does, is cut across the longer side of it into
    halves, each of which has boxes in the same way, at most `CUTS` times; what is filled best comes first.
    """
    boxes = []
    for part in components(mask, least):
        pieces = sorted(_tight(part, CUTS), key=lambda piece: -piece[0])
        boxes += [letterbox.to_native(box) for _, box in pieces]
    return boxes


def _tight(mask: np.ndarray, cuts: int) -> list[tuple[float, Box]]:
    """Half-open boxes around the pixels of a mask, with the share of each that they fill."""
    if not (box := box_of(mask)):
        return []
    x1, y1, x2, y2 = map(int, box)
    filled = float(mask[y1:y2, x1:x2].mean())
    if not cuts or filled >= FILLED:
        return [(filled, box)]
    halves = mask.copy(), mask.copy()
    if y2 - y1 >= x2 - x1:
        halves[0][(y1 + y2) // 2 :], halves[1][: (y1 + y2) // 2] = False, False
    else:
        halves[0][:, (x1 + x2) // 2 :], halves[1][:, : (x1 + x2) // 2] = False, False
    return [piece for half in halves for piece in _tight(half, cuts - 1)]


def _key(mask: np.ndarray) -> bytes:
    return np.packbits(mask).tobytes()
