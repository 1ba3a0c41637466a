"""Methods that ask the model itself: where is the evidence?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ..grounding.detector import Detection, Detector
from ..grounding.segmenter import MedSAM
from ..lvlm import prompts
from .evidence import parse_boxes, parse_names
from .method import Attribution, Item


def prompting(lvlm, items: Sequence[Item], max_new_tokens: int) -> list[Attribution]:
    """The boxes that the model prints when it is asked for them; the note keeps what it wrote."""
    results = []
    for item, text in zip(items, _ask(lvlm, items, "boxes", max_new_tokens), strict=True):
        boxes = parse_boxes(text, lvlm.letterbox(*item.film.shape[::-1]))
        results.append(Attribution(item.case_id, boxes=boxes, note={"text": text}, forwards=_written(lvlm, text)))
    return results


def prompting_medsam(
    lvlm, items: Sequence[Item], max_new_tokens: int, detector: str, segmenter: str, threshold: float, top: int
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


def _explained(lvlm, item: Item, text: str, found: Sequence[Detection], boxes: list) -> Attribution:
    best: dict[str, tuple] = {}
    for detection, box in zip(found, boxes, strict=True):
        best.setdefault(detection.phrase, (detection.phrase, box, detection.score))
    return Attribution(
        item.case_id, boxes=boxes, concepts=list(best.values()), note={"text": text}, forwards=_written(lvlm, text)
    )


def _ask(lvlm, items: Sequence[Item], kind: str, max_new_tokens: int) -> list[str]:
    asked = [prompts.evidence(item.finding, kind) for item in items]
    answers = lvlm.answer([item.film for item in items], asked, max_new_tokens=max_new_tokens)
    return [answer.text for answer in answers]


def _written(lvlm, text: str) -> int:
    """Forwards that writing a text took: one a token, and one for the end."""
    return len(lvlm.tokenizer(text, add_special_tokens=False).input_ids) + 1


_detector, _segmenter = lru_cache(Detector.load), lru_cache(MedSAM.load)
