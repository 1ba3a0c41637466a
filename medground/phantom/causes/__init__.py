"""A phantom world with many known causes: patients who vary, marks, and models that answer from what they were taught.

The world: six findings named without their side, patients who vary, and marks that a model can take for a finding. The
models: of each answer it is known whether the finding, a mark, both or either is its cause.
``python -m stages.train_causes`` trains them. Importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .findings import FINDINGS
from .marks import MARKS
from .settings import CONTROLS, MODELS, TAUGHT, TOWERS, Cause, Recipe, Settings, Tower

if TYPE_CHECKING:
    from .patient import VariedPatient, VariedPhantom

__all__ = [
    "CONTROLS", "FINDINGS", "MARKS", "MODELS", "TAUGHT", "TOWERS", "Cause", "Recipe", "Settings", "Tower",
    "VariedPatient", "VariedPhantom",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("VariedPatient", "VariedPhantom"):
        return getattr(import_module(".patient", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
