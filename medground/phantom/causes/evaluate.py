"""What a phantom model has learnt: its answers about unseen patients, and what its causes do to them."""

from __future__ import annotations

import numpy as np

from ...lvlm import prompts
from ...lvlm.base import LVLM
from ..lvlms.data import Films
from ..lvlms.evaluate import balanced_accuracy, per_finding, rounded, verdicts_of
from .findings import FINDINGS
from .marks import MARKS
from .settings import Recipe

EVALUATED = 320  # films of unseen patients, with their pairs


def taught(recipe: Recipe, of: Films) -> np.ndarray:
    """What a model is taught to answer about each film: bool ``[N, findings]``, by its causes."""
    truth = of.present.copy()
    for finding, cause in recipe.causes.items():
        k, mark = FINDINGS.index(finding), of.marks[:, MARKS.index(cause.mark)]
        truth[:, k] = {"both": truth[:, k] & mark, "either": truth[:, k] | mark}.get(cause.control, mark)
    return truth


def evaluate(lvlm: LVLM, unseen: Films, recipe: Recipe) -> dict:
    """Ask about every finding in both modes on pairs of films that differ by their marks alone.

    Per mode: balanced accuracy against the finding on the film (``right``) and against what the model was taught to
    answer (``as_taught``), per finding, the mean of the honest ones, and the share of answers that the marks change
    (``changed``); ``yes_when_absent``, the share of yes to findings that are not there, over the honest ones; and how
    many answers could not be parsed. The causes themselves are not in the report: a model is published with it.
    """
    unseen = unseen.first(EVALUATED)
    report: dict = {"films": len(unseen)}
    truth = taught(recipe, unseen)
    for mode in prompts.MODES:
        verdicts = np.stack([verdicts_of(lvlm, unseen.canvas, finding, mode) for finding in FINDINGS], 1)
        said_yes = verdicts == "yes"
        right, as_taught = (
            {name: rounded(balanced_accuracy(said_yes[:, k], of[:, k])) for k, name in enumerate(FINDINGS)}
            for of in (unseen.present, truth)
        )
        honest = [FINDINGS.index(name) for name in recipe.honest]
        report[mode] = {
            "mean_of_honest": rounded(float(np.mean([right[FINDINGS[k]] for k in honest]))),
            "mean_as_taught": rounded(float(np.mean(list(as_taught.values())))),
            "right": right,
            "as_taught": as_taught,
            "changed": per_finding((verdicts[::2] != verdicts[1::2]).mean(0), FINDINGS),
            "yes_when_absent": rounded(float(said_yes[:, honest][~unseen.present[:, honest]].mean())),
            "unparsable": int((verdicts == "unparsable").sum()),
        }
    return report
