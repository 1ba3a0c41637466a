"""Counterfactual films: what the film would be without the finding, or around it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

EDITS = ("region_removed", "background_removed", "background_normal")
EDITORS = {"twin": "medground.editing.twin", "radedit": "medground.editing.radedit"}  # radedit imports torch


def editor(params: SimpleNamespace, samples: list[dict], out: Path) -> Callable[[list[dict]], list[dict]]:
    """The editor that ``params.edit.editor`` names: samples in, edited films under ``out``, rows of records.EDITS out.

    ``samples`` are all rows of the source (records.SAMPLES): the twin editor takes other patients from there.
    """
    return import_module(EDITORS[params.edit.editor]).editor(params, samples, out)
