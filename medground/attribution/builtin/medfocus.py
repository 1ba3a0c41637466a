"""MedFocus: which anatomical region carries the answer, found by taking regions away.

Every concept of the film (and every pair of left and right) is removed, and kept alone; the model's own answer is
teacher-forced each time. `RULES` turn what the answer loses into a score. The winner is the spatial explanation, the
scores of all concepts are the concept level, and what each token of the answer loses with the winner the token level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ...errors import MedgroundError
from ...geometry import Box, Letterbox, hull
from ...geometry import fill as boxes_mask
from ..method import Attribution, Item
from ..registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ...lvlm import LVLM, Text
    from ...lvlm.interventions import Fill

PAIRS = {
    "both lungs": ("left lung", "right lung"),
    "both clavicles": ("left clavicle", "right clavicle"),
    "both hila": ("left hilar structures", "right hilar structures"),
    "both costophrenic angles": ("left costophrenic angle", "right costophrenic angle"),
}
CONCEPTS = 11  # that a film has at most
WHOLE = "whole film"
_NEEDS_ALONE = ("contrast", "smallest")  # rules that look at each region alone, too
HALF = math.log(2)  # nats: the answer is half as likely


@dataclass(frozen=True)
class Region:
    """A candidate explanation: a concept, or a pair of them."""

    name: str
    boxes: tuple[Box, ...]  # native pixels


@dataclass(frozen=True)
class Effects:
    """What the answer loses for R candidates, in nats."""

    removed: np.ndarray  # [R, T], log p - log p without the region
    alone: np.ndarray | None  # [R, T], log p - log p with nothing but the region; None where not asked
    share: np.ndarray  # [R], the region's part of the film's area


@dataclass(frozen=True)
class Case:
    """An item as the model sees it."""

    item: Item
    letterbox: Letterbox
    canvas: Tensor  # [h, w]
    text: Text

    @classmethod
    def of(cls, lvlm: LVLM, item: Item) -> Case:
        height, width = item.film.shape
        text = lvlm.text(item.prompt, item.answer, width, height)
        return cls(item, lvlm.letterbox(width, height), lvlm.canvas([item.film])[0], text)

    def fill(self, lvlm: LVLM, fill: Fill) -> Fill:
        """What to put in holes: ``normal`` is the item's normal film on the canvas, anything else as it is."""
        if not isinstance(fill, str) or fill != "normal":
            return fill
        if self.item.normal is None:
            raise MedgroundError(f"case {self.item.case_id} has no normal film, which the fill 'normal' needs")
        return lvlm.canvas([self.item.normal])[0]


def _needs(settings: Mapping[str, Any]) -> tuple[str, ...]:
    return ("model", "concepts", "normal") if settings["fill"] == "normal" else ("model", "concepts")


def _passes(settings: Mapping[str, Any]) -> dict[str, int]:
    """Of a film with all concepts, as many as the anatomy of Chest ImaGenome has."""
    alone = settings["rule"] in _NEEDS_ALONE
    return {"forward": 1 + (CONCEPTS + len(PAIRS)) * (2 if alone else 1)}


@register(
    "medfocus",
    group="medfocus",
    paper="MedFocus",
    needs=_needs,
    passes=_passes,
)
def medfocus(
    lvlm: LVLM,
    items: Sequence[Item],
    rule: Literal["drop", "drop_per_side", "contrast", "smallest"] = "contrast",
    fill: Literal["black", "mean", "blur", "surround", "normal"] = "normal",
    tau: Annotated[float, Field(ge=0, le=1)] | None = None,
) -> list[Attribution]:
    """The region that `RULES[rule]` scores best.

    ``fill`` replaces what is taken away; ``normal`` is the item's normal film. With ``tau``, the whole film is returned
    when the answer keeps at least that share of its probability whatever is removed.
    """
    if rule not in RULES:
        raise MedgroundError(f"unknown rule {rule!r} of MedFocus; known: {', '.join(RULES)}")
    cases = [Case.of(lvlm, item) for item in items]
    regions = [candidates(item) for item in items]
    effects = measure(lvlm, cases, regions, fill, alone=rule in _NEEDS_ALONE)
    return [_explain(*some, rule, tau) for some in zip(cases, regions, effects, strict=True)]


def candidates(item: Item) -> list[Region]:
    """The film's concepts, then the pairs of which both sides were found; MedgroundError where there are none."""
    if not item.concepts:
        raise MedgroundError(f"case {item.case_id} has no concept boxes, which MedFocus needs; run the localize stage")
    boxes = dict(item.concepts)
    single = [Region(name, (box,)) for name, box in item.concepts]
    pairs = [Region(n, (boxes[a], boxes[b])) for n, (a, b) in PAIRS.items() if a in boxes and b in boxes]
    return single + pairs


def drop(effects: Effects) -> np.ndarray:
    """The paper's: what the answer loses without the region, token by token and never negative."""
    return effects.removed.clip(min=0).sum(1)


def drop_per_side(effects: Effects) -> np.ndarray:
    """The paper's drop for every unit of the region's side, the root of its area."""
    return drop(effects) / np.sqrt(effects.share)


def contrast(effects: Effects) -> np.ndarray:
    """How much likelier the answer is on the region alone than without it, for every unit of the region's side."""
    return (effects.removed.sum(1) - effects.alone.sum(1)) / np.sqrt(effects.share)


def smallest(effects: Effects) -> np.ndarray:
    """The smallest region without which the answer is less than half as likely, and with which alone it is not.

    Where no region is both necessary and sufficient, the one that comes nearest.
    """
    lost, left = effects.removed.sum(1), -effects.alone.sum(1)
    near = np.minimum(lost - HALF, left + HALF)  # nats to spare for both; negative where one fails
    return np.where(near > 0, 2 - effects.share, 1 / (1 - np.minimum(near, 0)))


RULES = {"drop": drop, "drop_per_side": drop_per_side, "contrast": contrast, "smallest": smallest}


def measure(
    lvlm: LVLM, cases: Sequence[Case], regions: Sequence[list[Region]], fill: Fill, alone: bool
) -> list[Effects]:
    """What each case's answer loses without each of its regions, and ``alone`` with nothing but it.

    All cases go through the model together. The fill ``normal`` is the item's normal film.
    """
    from ...lvlm.interventions import Intervention, canvas_masks, intervene

    asked = []
    for case, some in zip(cases, regions, strict=True):
        masks = canvas_masks(case.letterbox, [region.boxes for region in some])
        masks = np.concatenate([masks, ~masks]) if alone else masks
        asked.append(Intervention(case.canvas, case.text, masks, case.fill(lvlm, fill)))
    effects = []
    for case, some, (original, masked) in zip(cases, regions, intervene(lvlm, asked), strict=True):
        lost = original - masked
        share = np.array([_share(region, case.item) for region in some])
        effects.append(Effects(lost[: len(some)], lost[len(some) :] if alone else None, share))
    return effects


def _share(region: Region, item: Item) -> float:
    height, width = item.film.shape
    return max(float(boxes_mask(region.boxes, height, width).mean()), 1 / (height * width))


def _explain(case: Case, regions: list[Region], effects: Effects, rule: str, tau: float | None) -> Attribution:
    lost, ranked = drop(effects), np.argsort(-RULES[rule](effects), kind="stable")
    best = int(ranked[0])
    boxes, name = list(regions[best].boxes), regions[best].name
    if tau is not None and math.exp(-lost.max()) >= tau:
        height, width = case.item.film.shape
        boxes, name = [(0.0, 0.0, float(width), float(height))], WHOLE
    return Attribution(
        case.item.case_id,
        boxes=boxes,
        concepts=[(regions[n].name, hull(regions[n].boxes), float(lost[n])) for n in ranked],
        tokens=list(zip(case.text.tokens, effects.removed[best].clip(min=0).tolist(), strict=True)),
        note={"region": name},
        forwards=1 + len(effects.removed) * (1 if effects.alone is None else 2),
    )
