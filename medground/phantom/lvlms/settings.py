"""How a phantom model is trained, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """A model: its family, and the findings that it is taught to answer from the marker."""

    family: str
    shortcut_findings: tuple[str, ...] = ()


MODELS = {
    "phantom-gemma3": Recipe("gemma3"),
    "phantom-qwen2_5_vl": Recipe("qwen2_5_vl"),
    "phantom-gemma3-shortcut": Recipe("gemma3", ("cardiomegaly", "right pleural effusion", "widened mediastinum")),
}


@dataclass(frozen=True)
class Settings:
    """Size and length of a training run."""

    seed: int = 1
    train_patients: int = 300
    train_films: int = 10000
    validation_patients: int = 40
    validation_films: int = 400  # each twice, without and with the marker
    batch: int = 32  # films a step
    dense_steps: int = 3800
    dense_rate: float = 1.5e-3
    language_batch: int = 32
    language_steps: int = 700
    language_rate: float = 1.5e-3
    tower_share: float = 0.15  # of the rate, for the vision tower while language is learnt; at 1 it forgets
    decay: float = 0.05
    save_every: int = 200  # steps; what a killed run repeats
