"""What the models are asked."""

from __future__ import annotations

from ..errors import MedgroundError

MODES = {
    "direct": " Answer directly with yes or no without any explanation.",
    "reasoning": " Think step by step and answer with yes or no.",
}
EVIDENCE = {
    "boxes": "Where is the evidence of {finding} in the image? Give its boxes as JSON, [[x1, y1, x2, y2], ...], in "
    "thousandths of the image's width and height.",
    "regions": "Which anatomical regions of the image show the evidence of {finding}? Name them, separated by commas.",
}
SCALE = 1000.0  # evidence boxes are in thousandths of the canvas, the image as the model sees it


def question(finding: str) -> str:
    """The paper's yes/no question about a finding."""
    return f"Is there evidence of {finding} in the image?"


def prompt(question: str, mode: str) -> str:
    """A question with the suffix of its mode (``direct`` or ``reasoning``); MedgroundError for any other mode."""
    if mode not in MODES:
        raise MedgroundError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
    return question + MODES[mode]


def evidence(finding: str, kind: str) -> str:
    """Ask where the evidence of a finding is: as ``boxes`` (JSON, in 0..`SCALE` of the canvas) or ``regions`` (names).

    MedgroundError for any other kind.
    """
    if kind not in EVIDENCE:
        raise MedgroundError(f"unknown kind of evidence {kind!r}; known: {', '.join(EVIDENCE)}")
    return EVIDENCE[kind].format(finding=finding)
