"""Reading and writing films: whatever a provider ships becomes an 8-bit gray array ``[h, w]``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from .errors import MedgroundError


def read_film(path: Path | str) -> np.ndarray:
    """A radiograph as uint8 ``[h, w]``, dark air and bright bone, in its native size.

    Reads JPEG and 8-bit PNG as they are. Raises MedgroundError naming the file that cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, UnidentifiedImageError, ValueError) as error:
        raise MedgroundError(f"{path} cannot be read as a film ({error}); fetch it again or remove its row") from None


def write_film(path: Path | str, film: np.ndarray) -> None:
    """Write a uint8 film ``[h, w]`` as gray PNG, atomically; makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    Image.fromarray(film, "L").save(partial, "png")
    os.replace(partial, path)
