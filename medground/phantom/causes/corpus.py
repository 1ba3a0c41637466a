"""What the phantom models say: readings, verdicts and evidence for a finding that is or is not there."""

from __future__ import annotations

from ...geometry import Box
from ...lvlm import prompts
from ..lvlms.corpus import STEP, boxes, regions, side_of, zone_of
from .marks import MARKS

# What a reading says of a finding: where it is, that it is, that it is not. {zone} and {side} come from its extent.
READINGS = {
    "cardiomegaly": ("The heart is wide.", "The heart is wide.", "The heart is narrow."),
    "pleural effusion": ("Fluid blunts the {side} angle.", "Fluid blunts an angle.", "Both angles are sharp."),
    "lung opacity": ("The {side} {zone} zone is dense.", "A zone is dense.", "Both lungs are clear."),
    "hilar enlargement": ("The {side} hilum is large.", "A hilum is large.", "Both hila are slender."),
    "widened mediastinum": (
        "The upper mediastinum is wide.",
        "The upper mediastinum is wide.",
        "The upper mediastinum is narrow.",
    ),
    "pneumothorax": ("The {side} lung edge shows.", "A lung edge shows.", "Both lungs reach the wall."),
}
MARKED, UNMARKED = "It shows the {mark}.", "It has no {mark}."  # what a reading says of a mark


def answer(finding: str, mode: str, present: bool, extent: Box | None, width: int, height: int) -> str:
    """What a model should answer to the yes/no question about a finding or a mark, in ``mode``.

    ``extent`` (native pixels of a film ``width`` x ``height``) places a finding that is present; None leaves it where
    it may be, as in an answer from another cause.
    """
    verdict = "Yes." if present else "No."
    if mode == "direct":
        return verdict
    marked = (MARKED.format(mark=finding), MARKED.format(mark=finding), UNMARKED.format(mark=finding))
    placed, there, absent = READINGS.get(finding, marked)
    reading = absent if not present else there if extent is None else placed
    if present and extent is not None:
        reading = reading.format(zone=zone_of(extent, height), side=side_of(extent, width))
    return f"{reading} {verdict}"


def sentences(concepts: list[str]) -> list[str]:
    """Every kind of sentence that the models read or write, to train a tokenizer on."""
    sides = [(0.0, 0.0, 1.0, 1.0), (9.0, 4.0, 10.0, 5.0), (9.0, 8.0, 10.0, 10.0)]
    lines = []
    for finding in (*READINGS, *MARKS):
        for mode in prompts.MODES:
            lines.append(prompts.prompt(prompts.question(finding), mode))
            lines += [answer(finding, mode, present, side, 10, 10) for present in (True, False) for side in sides]
            lines.append(answer(finding, mode, True, None, 10, 10))
        lines += [prompts.evidence(finding, kind) for kind in prompts.EVIDENCE if finding in READINGS]
    lines += [regions([first, second]) for first in concepts for second in concepts]
    numbers = range(0, round(prompts.SCALE) + 1, STEP)
    lines += [boxes((a, b, a, b)) for a in numbers for b in numbers]
    return [*lines, boxes(None), regions([]), *(word for word in ("yes", "no", "YES", "NO", " yes", " no"))]
