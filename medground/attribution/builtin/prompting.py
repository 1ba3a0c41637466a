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
    import numpy as np

    from ...geometry import Box
    from ...grounding.detector import Detection, Detector
    from ...grounding.segmenter import MedSAM
    from ...lvlm import LVLM

Tokens = Annotated[int, Field(ge=1, le=100_000)]


@register("prompting", group="prompting", paper="the model prints boxes", passes={"generation": 1})
def prompting(lvlm: LVLM, items: Sequence[Item], max_new_tokens: Tokens = 256) -> list[Attribution]:
    """The boxes that the model prints when it is asked for them; the note keeps what it wrote."""
    results = []
    for item, text in zip(items, _ask(lvlm, items, "boxes", max_new_tokens), strict=True):
        height, width = item.film.shape
        results.append(printed(lvlm, item.case_id, text, parse_boxes(text, lvlm.letterbox(width, height))))
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
    found = load_detector(detector).find(films, names, threshold, top)
    ranked = [sorted(some, key=lambda detection: -detection.score) for some in found]
    refined = load_segmenter(segmenter).refine(films, [[detection.box for detection in some] for some in ranked])
    return [
        _explained(lvlm, item, text, some, boxes)
        for item, text, some, boxes in zip(items, texts, ranked, refined, strict=True)
    ]


def ask(
    lvlm: LVLM, films: Sequence[np.ndarray], asked: Sequence[str], max_new_tokens: int, protocol: str = "medground"
) -> list[str]:
    """What the model writes about each film (uint8 ``[H, W]``) when it is asked for the evidence."""
    return [answer.text for answer in lvlm.answer(films, asked, max_new_tokens=max_new_tokens, protocol=protocol)]


def printed(
    lvlm: LVLM, case_id: str, text: str, boxes: list[Box], concepts: list[tuple[str, Box, float]] | None = None
) -> Attribution:
    """The attribution of what a model wrote, which its note keeps. Writing takes a forward a token, and one for the
    end."""
    forwards = len(lvlm.tokenizer(text, add_special_tokens=False).input_ids) + 1
    return Attribution(case_id, boxes=boxes, concepts=concepts, note={"text": text}, forwards=forwards)


def _explained(lvlm: LVLM, item: Item, text: str, found: Sequence[Detection], boxes: list[Box]) -> Attribution:
    best: dict[str, tuple[str, Box, float]] = {}
    for detection, box in zip(found, boxes, strict=True):
        best.setdefault(detection.phrase, (detection.phrase, box, detection.score))
    return printed(lvlm, item.case_id, text, boxes, list(best.values()))


def _ask(lvlm: LVLM, items: Sequence[Item], kind: str, max_new_tokens: int) -> list[str]:
    asked = [prompts.evidence(item.finding, kind) for item in items]
    return ask(lvlm, [item.film for item in items], asked, max_new_tokens)


@lru_cache
def load_detector(where: str) -> Detector:
    """The detector of a folder or a Hub id, loaded once a process."""
    from ...grounding.detector import Detector

    return Detector.load(where)


@lru_cache
def load_segmenter(where: str) -> MedSAM:
    """The segmenter of a folder or a Hub id, loaded once a process."""
    from ...grounding.segmenter import MedSAM

    return MedSAM.load(where)
