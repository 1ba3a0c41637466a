"""A phantom world with many known causes: patients who vary, marks, and models that answer from what they were taught.

The world: six findings named without their side, patients who vary, and marks that a model can take for a finding. The
models: of each answer it is known whether the finding, a mark, both or either is its cause. Nothing else in the library
depends on this package; ``python -m stages.train_causes`` trains its models.
"""

from .findings import FINDINGS
from .marks import MARKS
from .patient import VariedPatient, VariedPhantom
from .settings import CONTROLS, MODELS, TAUGHT, TOWERS, Cause, Recipe, Settings, Tower

__all__ = [
    "CONTROLS", "FINDINGS", "MARKS", "MODELS", "TAUGHT", "TOWERS", "Cause", "Recipe", "Settings", "Tower",
    "VariedPatient", "VariedPhantom",
]  # fmt: skip
