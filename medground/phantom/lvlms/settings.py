"""How a phantom model is trained, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import LvlmTraining

#: The family of each model.
MODELS = {"phantom-gemma3": "gemma3", "phantom-qwen2_5_vl": "qwen2_5_vl"}


@dataclass(frozen=True, kw_only=True)
class Settings(LvlmTraining):
    """Size and length of a training run."""

    dense_steps: int = 3800
