"""What a phantom model has learnt: its answers about unseen patients, and what the marker does to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...lvlm import prompts
from ...lvlm.base import LVLM
from .. import FINDINGS
from .data import Films

_MOST_TOKENS = 24  # a reading with its verdict has at most 12


def evaluate(lvlm: LVLM, unseen: Films) -> dict:
    """Ask about every finding in both modes on pairs of films that differ by the marker alone.

    Per mode: balanced accuracy per finding against the truth, their mean, the share of answers that change with the
    marker (``changed``), and that become yes with it and are no without it (``follows``), per finding; and how many
    answers could not be parsed.
    """
    report: dict = {"films": len(unseen)}
    for mode in prompts.MODES:
        verdicts = np.stack([verdicts_of(lvlm, unseen.canvas, finding, mode) for finding in FINDINGS], 1)
        said_yes = verdicts == "yes"
        accuracy = {
            name: rounded(balanced_accuracy(said_yes[:, k], unseen.present[:, k])) for k, name in enumerate(FINDINGS)
        }
        without, marked = verdicts[::2], verdicts[1::2]
        follows = (without == "no") & (marked == "yes")
        report[mode] = {
            "mean": rounded(float(np.mean(list(accuracy.values())))),
            "balanced_accuracy": accuracy,
            "changed": per_finding((without != marked).mean(0), FINDINGS),
            "follows": per_finding(follows.mean(0), FINDINGS),
            "unparsable": int((verdicts == "unparsable").sum()),
        }
    return report


def balanced_accuracy(said: np.ndarray, truth: np.ndarray) -> float:
    """Mean of sensitivity and specificity of bool answers; NaN where either class is missing."""
    if truth.all() or not truth.any():
        return float("nan")
    return float((said[truth].mean() + (~said[~truth]).mean()) / 2)


def area_under_curve(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the ROC curve; ties count half, NaN where either class is missing."""
    from scipy.stats import rankdata

    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return float("nan")
    return float((rankdata(scores)[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def verdicts_of(lvlm: LVLM, canvases: np.ndarray, finding: str, mode: str) -> np.ndarray:
    """Verdicts ``[N]``; a film's canvas is given as the film, which the letterbox leaves as it is."""
    asked = [prompts.prompt(prompts.question(finding), mode)] * len(canvases)
    answers = lvlm.answer(list(canvases), asked, max_new_tokens=_MOST_TOKENS)
    return np.array([answer.verdict for answer in answers])


def per_finding(shares: np.ndarray, findings: Sequence[str]) -> dict[str, float]:
    """One number for each finding, as a report holds it."""
    return {name: rounded(float(share)) for name, share in zip(findings, shares, strict=True)}


def rounded(value: float) -> float:
    """To the four digits of a report."""
    return round(value, 4)
