"""How long the phantom's segmenter and detector are trained, and on what."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import Training


@dataclass(frozen=True, kw_only=True)
class Settings(Training):
    """Size and length of a training run."""

    steps: int
    prompts: int = 8  # boxes a film and step, for the segmenter
    rate: float = 1.2e-3
    train_patients: int = 120
    films_per_patient: int = 8
    validation_films: int = 2  # of each patient
    save_every: int = 100


SEGMENTER, DETECTOR = "phantom-sam", "phantom-owlvit"
MODELS = {SEGMENTER: Settings(batch=4, steps=2400), DETECTOR: Settings(batch=8, steps=3000)}
