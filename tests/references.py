"""Writing the concept masks of a reference as the stages do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medground.images import write_film


def write_masks(folder: Path | str, masks: Mapping[str, np.ndarray]) -> list[dict]:
    """Masks, bool ``[h, w]``, as one PNG a concept in ``folder``: the column ``masks`` of `records.REFERENCES`."""
    rows = []
    for concept, mask in masks.items():
        path = Path(folder) / f"{concept.replace(' ', '_')}.png"
        write_film(path, 255 * np.asarray(mask, np.uint8))
        rows.append({"concept": concept, "path": str(path)})
    return rows
