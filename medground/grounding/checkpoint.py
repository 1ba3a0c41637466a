"""Loading one checkpoint's parts, with errors that name it and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from ..errors import MedgroundError
from ..lvlm.checkpoints import remedy


class Part(Protocol):
    """What a class of transformers reads from a checkpoint: weights, an image processor, a tokenizer."""

    @classmethod
    def from_pretrained(cls, where: str, /, *, revision: str) -> Any:
        """As `transformers.PreTrainedModel.from_pretrained`."""


def load_parts(where: str, classes: Sequence[type[Part]], revision: str = "main") -> list:
    """``from_pretrained`` of each class for a folder or a Hub id; the first is the model, put on the best device.

    Raises MedgroundError where the checkpoint is missing, out of reach, or of another kind.
    """
    if not Path(where).is_dir() and where.count("/") != 1:
        raise MedgroundError(f"there is no checkpoint {where!r}: give a folder, or a Hub id (owner/name)")
    try:
        model, *others = (kind.from_pretrained(where, revision=revision) for kind in classes)
    except Exception as error:  # each file has a reader that raises what it likes on damage
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MedgroundError(f"{where} cannot be loaded as {classes[0].__name__}: {reason}; {remedy(where)}") from error
    expected = model.config_class.model_type
    if model.config.model_type != expected:
        raise MedgroundError(f"{where} is a {model.config.model_type} checkpoint, not {expected}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [model.eval().requires_grad_(False).to(device), *others]
