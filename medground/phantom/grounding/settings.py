"""How long the phantom's eyes are trained, and on what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Size and length of a training run."""

    batch: int  # films a step
    steps: int
    prompts: int = 8  # boxes a film and step, for the segmenter
    rate: float = 1.2e-3
    decay: float = 0.05
    seed: int = 1
    train_patients: int = 120
    films_per_patient: int = 8
    validation_patients: int = 40
    validation_films: int = 2  # of each patient
    save_every: int = 100  # steps; what a killed run repeats


SEGMENTER, DETECTOR = "phantom-sam", "phantom-owlvit"
MODELS = {SEGMENTER: Settings(batch=4, steps=2400), DETECTOR: Settings(batch=8, steps=3000)}
