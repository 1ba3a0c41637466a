"""Counterfactual films: what the film would be without the finding, or around it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from ..files import File
from ..images import png
from ..params import Params

EDITS = ("region_removed", "background_removed", "background_normal")
EDITORS = {"twin": "medground.editing.twin", "radedit": "medground.editing.radedit"}  # radedit imports torch


def editor(params: Params, samples: list[dict], out: Path) -> Callable[[list[dict]], list[dict]]:
    """The editor that ``params.edit.editor`` names: samples in, rows of records.EDITS out.

    The ``path`` of a row is the edited film as a `files.File` under ``out``, which the engine writes.
    ``samples`` are all rows of the source (records.SAMPLES): the twin editor takes other patients from there.
    """
    return import_module(EDITORS[params.edit.editor]).editor(params, samples, out)


def edit_row(out: Path, sample: dict, kind: str, seed: int, film: np.ndarray, editor: str, settings: dict) -> dict:
    """The row of records.EDITS of one edited film (uint8 ``[h, w]``) of a sample, with the film itself."""
    content = png(film)
    return {
        "source": sample["source"],
        "index": sample["index"],
        "edit": kind,
        "seed": seed,
        "path": File(str(out / kind / f"{sample['index']:06d}_{seed}.png"), content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "editor": editor,
        "settings": json.dumps(settings, sort_keys=True),
    }
