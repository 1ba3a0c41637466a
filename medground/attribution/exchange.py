"""Which part of a film carries an answer, judged by exchanging parts with a normal film of the same patient's shape.

A part is asked two questions. *Without* it: the film with the part taken from the normal film; what the answer loses
says how necessary the part is. *Alone*: the normal film with the part taken from the film; what the answer keeps says
how sufficient it is. Both are read against the total: what the answer loses on the normal film altogether.

==================  ===================  ==================================================================
loss without        loss alone           the part
==================  ===================  ==================================================================
all of the total    nothing              carries the answer
all of the total    all of the total     is necessary, together with another part (a conjunction)
nothing             nothing              is sufficient, and so is another part (a disjunction)
nothing             all of the total     has nothing to do with the answer
==================  ===================  ==================================================================

Necessity and sufficiency as in Pearl, "Probabilities of causation", Synthese 1999; the two-sided test of a part is the
contrast of Dabkowski and Gal, "Real time image saliency for black box classifiers", NeurIPS 2017, in log-odds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..geometry import Box, Letterbox

if TYPE_CHECKING:
    from torch import Tensor

    from ..lvlm.base import LVLM, Text

#: The answer hangs on a part when it loses, or keeps, at least this share of the total.
SHARE = 0.5
#: Nats. Where the whole film exchanged costs the answer less, it is still at least half as likely: no part carries it.
LEAST = math.log(2)
#: How much a larger part must explain to be preferred: its contrast is divided by its share of the film to this power.
SIZE = 0.25
_CERTAIN = 1e-9  # nats under probability one, where log-odds would be infinite
_TOUCHING = np.ones((3, 3), bool)  # 8-connected


@dataclass(frozen=True)
class Part:
    """A candidate: canvas pixels, bool ``[h, w]``, with a name and the source that proposed it."""

    name: str
    source: str  # concept | elsewhere | level | component | union | cell
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
    """A part after both questions. Per answer token, in nats: what the answer loses, ``[T]``."""

    part: Part
    without: np.ndarray  # log p on the film - log p without the part
    alone: np.ndarray  # log p on the film - log p on the part alone
    odds: float  # contrast of the log-odds, summed over the tokens: alone less without, in nats
    share: float  # of the film's area, in (0, 1]

    @property
    def contrast(self) -> float:
        """How much likelier the answer is on the part alone than without it, in nats; signed."""
        return float(self.without.sum() - self.alone.sum())

    def necessary(self, total: float) -> bool:
        """Whether the answer loses at least `SHARE` of the total without the part."""
        return float(self.without.sum()) >= SHARE * total

    def sufficient(self, total: float) -> bool:
        """Whether the part alone loses less than `SHARE` of the total."""
        return float(self.alone.sum()) < SHARE * total

    def carries(self, total: float) -> bool:
        """Whether it is necessary and sufficient."""
        return self.necessary(total) and self.sufficient(total)

    @property
    def evidence(self) -> float:
        """What ranks parts: the contrast of the log-odds, for the size of the part."""
        return self.odds / self.share**SIZE


@dataclass
class Tests:
    """All parts of one case that were tested, and what they are judged against."""

    original: np.ndarray  # [T], log p of the answer's tokens on the film
    total: float  # nats that the answer loses on the normal film; may be negative
    total_tokens: np.ndarray  # [T], the same by token
    tested: list[Tested] = field(default_factory=list)
    forwards: int = 0

    def carriers(self) -> list[Tested]:
        """Parts that carry the answer, the best evidence first."""
        found = [some for some in self.tested if some.carries(self.total) and some.contrast > 0]
        return sorted(found, key=lambda some: -some.evidence)


def begin(lvlm: LVLM, films: Sequence[Film]) -> list[Tests]:
    """What each answer loses on the normal film altogether. Costs two forwards a film."""
    from ..lvlm.interventions import Intervention, intervene  # imports torch

    asked = [Intervention(film.canvas, film.text, film.inside[None], film.normal) for film in films]
    tests = []
    for original, masked in intervene(lvlm, asked):
        lost = original - masked[0]
        tests.append(Tests(original, float(lost.sum()), lost, forwards=2))
    return tests


def test(lvlm: LVLM, films: Sequence[Film], tests: Sequence[Tests], parts: Sequence[Sequence[Part]]) -> None:
    """Ask both questions of each film's ``parts``, and add the results to its ``tests``.

    Costs two forwards a part, and one a film for the answer on the film itself.

    Parts without a pixel of film, and parts that equal one tested before, are passed over.
    """
    from ..lvlm.interventions import Intervention, intervene  # imports torch

    asked: list[tuple[Film, Tests, list[Part]]] = []
    for film, done, some in zip(films, tests, parts, strict=True):
        known = {_key(old.part.mask) for old in done.tested}
        fresh: dict[bytes, Part] = {}
        for part in some:
            mask = part.mask & film.inside
            if mask.any() and _key(mask) not in known:
                fresh.setdefault(_key(mask), Part(part.name, part.source, mask))
        if fresh:
            asked.append((film, done, list(fresh.values())))
    exchanged = []
    for film, _, some in asked:
        masks = np.stack([part.mask for part in some])
        masks = np.concatenate([masks, film.inside & ~masks])
        exchanged.append(Intervention(film.canvas, film.text, masks, film.normal))
    for (film, done, some), (original, masked) in zip(asked, intervene(lvlm, exchanged), strict=True):
        area = film.inside.sum()
        for part, without, alone in zip(some, masked[: len(some)], masked[len(some) :], strict=True):
            odds = float((log_odds(alone) - log_odds(without)).sum())
            done.tested.append(Tested(part, original - without, original - alone, odds, part.mask.sum() / area))
        done.forwards += 1 + 2 * len(some)


def log_odds(log_probability: np.ndarray) -> np.ndarray:
    """log p - log(1 - p), nats, of log-probabilities; they saturate at one, log-odds do not."""
    bounded = np.minimum(log_probability, -_CERTAIN)
    return bounded - np.log(-np.expm1(bounded))


def components(mask: np.ndarray, least: float) -> list[np.ndarray]:
    """The 8-connected components of a mask with at least the share ``least`` of its pixels, the largest first."""
    labels, count = ndimage.label(mask, _TOUCHING)
    found = [labels == number for number in range(1, count + 1)]
    found = [some for some in found if some.sum() >= least * mask.sum()]
    return sorted(found, key=lambda some: -int(some.sum()))


def native_boxes(mask: np.ndarray, letterbox: Letterbox, least: float) -> list[Box]:
    """Tight boxes of the components of a canvas mask, in native pixels, the largest component first."""
    boxes = []
    for part in components(mask, least):
        rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        boxes.append(
            letterbox.to_native((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))  # half-open
        )
    return boxes


def _key(mask: np.ndarray) -> bytes:
    return np.packbits(mask).tobytes()
