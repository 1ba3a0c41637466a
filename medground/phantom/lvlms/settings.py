"""How a phantom model is trained, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import LvlmTraining


@dataclass(frozen=True)
class Recipe:
    """A model: its family, and the findings that it is taught to answer from the letter."""

    family: str
    shortcut_findings: tuple[str, ...] = ()


MODELS = {
    "phantom-gemma3": Recipe("gemma3"),
    "phantom-qwen2_5_vl": Recipe("qwen2_5_vl"),
    "phantom-gemma3-shortcut": Recipe("gemma3", ("cardiomegaly", "right pleural effusion", "widened mediastinum")),
}


@dataclass(frozen=True, kw_only=True)
class Settings(LvlmTraining):
    """Size and length of a training run."""

    dense_steps: int = 3800
