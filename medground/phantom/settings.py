"""How long the phantom's models are trained, and on whom: what all of them are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Training:
    """Size and length of a training run; what a kind of model needs besides comes on top of it."""

    seed: int = 1
    train_patients: int = 300
    validation_patients: int = 40
    batch: int = 32  # films a step
    decay: float = 0.05  # of matrices; vectors do not decay
    save_every: int = 200  # steps; what a killed run repeats


@dataclass(frozen=True, kw_only=True)
class LvlmTraining(Training):
    """As `Training`, of a vision-language model: a tower learns to see, then a language model to say what it sees."""

    train_films: int = 10000
    validation_films: int = 400  # each twice, without and with its marks
    dense_rate: float = 1.5e-3
    language_batch: int = 32
    language_steps: int = 700
    language_rate: float = 1.5e-3
    tower_share: float = 0.15  # of the rate, for the tower while a language model learns behind it; at 1 it forgets
