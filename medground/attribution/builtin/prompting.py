"""Methods that ask the model itself: where is the evidence?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from ...lvlm import prompts
from ..evidence import parse_boxes, parse_names
from ..method import Attribution, Item
from ..registry import register

if TYPE_CHECKING:
    from ...grounding.detector import Detection, Detector
    from ...grounding.segmenter import MedSAM
    from ...lvlm import LVLM

Tokens = Annotated[int, Field(ge=1, le=100_000)]


@register("prompting", group="prompting", paper="the model prints boxes", passes={"generation": 1})
def prompting(lvlm: LVLM, items: Sequence[Item], max_new_tokens: Tokens = 256) -> list[Attribution]:
    """The boxes that the model prints when it is asked for them; the note keeps what it wrote."""
    results = []
    for item, text in zip(items, _ask(lvlm, items, "boxes", max_new_tokens), strict=True):
        boxes = parse_boxes(text, lvlm.letterbox(*item.film.shape[::-1]))
        results.append(Attribution(item.case_id, boxes=boxes, note={"text": text}, forwards=_written(lvlm, text)))
    return results


@register(
    "prompting_medsam",
    group="prompting",
    paper="the model names regions; OWL-ViT (Minderer et al., ECCV 2022) and MedSAM (Ma et al., Nature Communications "
    "2024) find them",
    needs=("model", "detector", "segmenter"),
    passes={"generation": 1},
)
def prompting_medsam(
    lvlm: LVLM,
    items: Sequence[Item],
    max_new_tokens: Tokens = 256,
    detector: str = "google/owlvit-base-patch32",
    segmenter: str = "flaviagiammarino/medsam-vit-base",
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.1,
    top: Annotated[int, Field(ge=1)] = 5,
) -> list[Attribution]:
    """The regions that the model names, found by an open-vocabulary detector and tightened by MedSAM.

    ``detector`` and ``segmenter`` are checkpoints, ``threshold`` and ``top`` the detector's least score and most boxes
    a name. Boxes come best score first; the note keeps what the model wrote.
    """
    texts = _ask(lvlm, items, "regions", max_new_tokens)
    films, names = [item.film for item in items], [parse_names(text) for text in texts]
    found = _detector(detector).find(films, names, threshold, top)
    ranked = [sorted(some, key=lambda detection: -detection.score) for some in found]
    refined = _segmenter(segmenter).refine(films, [[detection.box for detection in some] for some in ranked])
    return [
        _explained(lvlm, item, text, some, boxes)
        for item, text, some, boxes in zip(items, texts, ranked, refined, strict=True)
    ]


def _explained(lvlm: LVLM, item: Item, text: str, found: Sequence[Detection], boxes: list) -> Attribution:
    best: dict[str, tuple] = {}
    for detection, box in zip(found, boxes, strict=True):
        best.setdefault(detection.phrase, (detection.phrase, box, detection.score))
    return Attribution(
        item.case_id, boxes=boxes, concepts=list(best.values()), note={"text": text}, forwards=_written(lvlm, text)
    )


def _ask(lvlm: LVLM, items: Sequence[Item], kind: str, max_new_tokens: int) -> list[str]:
    asked = [prompts.evidence(item.finding, kind) for item in items]
    answers = lvlm.answer([item.film for item in items], asked, max_new_tokens=max_new_tokens)
    return [answer.text for answer in answers]


def _written(lvlm: LVLM, text: str) -> int:
    """Forwards that writing a text took: one a token, and one for the end."""
    return len(lvlm.tokenizer(text, add_special_tokens=False).input_ids) + 1


@lru_cache
def _detector(where: str) -> Detector:
    from ...grounding.detector import Detector

    return Detector.load(where)


@lru_cache
def _segmenter(where: str) -> MedSAM:
    from ...grounding.segmenter import MedSAM

    return MedSAM.load(where)
