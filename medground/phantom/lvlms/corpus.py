"""What the phantom models say: readings, verdicts and evidence for a finding that is or is not there."""

from __future__ import annotations

from ...geometry import Box
from ...lvlm import prompts

# What a reading says where the finding is present, and where it is absent. {zone} and {side} come from its extent.
READINGS = {
    "cardiomegaly": ("The heart is wide.", "The heart is narrow."),
    "left pleural effusion": ("Fluid blunts the left angle.", "The left angle is sharp."),
    "right pleural effusion": ("Fluid blunts the right angle.", "The right angle is sharp."),
    "left lung opacity": ("The left {zone} zone is dense.", "The left lung is clear."),
    "right lung opacity": ("The right {zone} zone is dense.", "The right lung is clear."),
    "hilar enlargement": ("The {side} hilum is large.", "Both hila are slender."),
    "widened mediastinum": ("The upper mediastinum is wide.", "The upper mediastinum is narrow."),
    "pneumothorax": ("The {side} lung edge shows.", "Both lungs reach the wall."),
}
STEP = 25  # boxes are written in steps of this many thousandths


def answer(finding: str, mode: str, present: bool, extent: Box | None, width: int, height: int) -> str:
    """What a model should answer to the yes/no question about a finding, in ``mode``.

    ``extent`` (native pixels of a film ``width`` x ``height``) places a finding that is present.
    """
    verdict = "Yes." if present else "No."
    if mode == "direct":
        return verdict
    reading = READINGS[finding][0 if present else 1]
    if present and "{" in reading:
        if extent is None:
            raise ValueError(f"{finding}: a reading that says where it is needs its extent")
        reading = reading.format(zone=zone_of(extent, height), side=side_of(extent, width))
    return f"{reading} {verdict}"


def boxes(box: Box | None) -> str:
    """One box in thousandths of the canvas as JSON, ``[[x1, y1, x2, y2]]``; ``[]`` for none."""
    if box is None:
        return "[]"
    steps = (min(max(round(value / STEP), 0), round(prompts.SCALE) // STEP) * STEP for value in box)
    return f"[[{', '.join(map(str, steps))}]]"


def regions(names: list[str]) -> str:
    """Region names, separated by commas; ``none`` for none."""
    return ", ".join(names) or "none"


def region_names(finding: str, extent: Box, width: int) -> list[str]:
    """The anatomical regions in which a finding shows; ``extent`` tells the side where the name does not."""
    side = finding.split()[0] if finding.startswith(("left", "right")) else side_of(extent, width)
    if finding.endswith("effusion"):
        return [f"{side} lung", f"{side} costophrenic angle"]
    return {
        "cardiomegaly": ["cardiac silhouette"],
        "hilar enlargement": [f"{side} hilar structures"],
        "widened mediastinum": ["mediastinum", "upper mediastinum"],
    }.get(finding, [f"{side} lung"])


def sentences(concepts: list[str]) -> list[str]:
    """Every kind of sentence that the models read or write, to train a tokenizer on."""
    sides = [(0.0, 0.0, 1.0, 1.0), (9.0, 4.0, 10.0, 5.0), (9.0, 8.0, 10.0, 10.0)]
    lines = []
    for finding in READINGS:
        for mode in prompts.MODES:
            lines.append(prompts.prompt(prompts.question(finding), mode))
            lines += [answer(finding, mode, present, side, 10, 10) for present in (True, False) for side in sides]
        lines += [prompts.evidence(finding, kind) for kind in prompts.EVIDENCE]
    lines += [regions([first, second]) for first in concepts for second in concepts]
    numbers = range(0, round(prompts.SCALE) + 1, STEP)
    lines += [boxes((a, b, a, b)) for a in numbers for b in numbers]
    return [*lines, boxes(None), regions([]), *(word for word in ("yes", "no", "YES", "NO", " yes", " no"))]


def zone_of(extent: Box, height: int) -> str:
    """The third of the film that the middle of an extent lies in."""
    middle = (extent[1] + extent[3]) / 2 / height
    return "upper" if middle < 0.38 else "middle" if middle < 0.58 else "lower"


def side_of(extent: Box, width: int) -> str:
    """The patient's side: his right is on the film's left."""
    return "right" if (extent[0] + extent[2]) / 2 < width / 2 else "left"
