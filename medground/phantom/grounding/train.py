"""Training one of the phantom's eyes, from films to a model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

from transformers import PreTrainedModel

from ..films import Cohort
from ..loop import prepare
from . import owlvit, sam
from .films import Films, films
from .settings import DETECTOR, SEGMENTER, Settings


def eye(key: str) -> ModuleType:
    """The module that builds, trains and saves the model ``key`` of `MODELS`."""
    return {SEGMENTER: sam, DETECTOR: owlvit}[key]


def cohorts(settings: Settings) -> tuple[Cohort, Cohort]:
    """Who is trained on, and who is not."""
    s = settings
    return (
        Cohort("train", s.seed, s.train_patients, s.films_per_patient),
        Cohort("validation", s.seed, s.validation_patients, s.validation_films),
    )


def load_films(settings: Settings, ct: Path, cache: Path) -> tuple[Films, Films]:
    """Training and validation films."""
    train, validation = (films(cohort, ct, cache) for cohort in cohorts(settings))
    return train, validation


def train(key: str, settings: Settings, ct: Path, cache: Path) -> PreTrainedModel:
    """Train the model ``key`` of `MODELS`; every `Settings.save_every`-th step is kept under ``cache``, and a run that
    was killed goes on from there. Equal settings give equal weights on equal machines."""
    prepare(cache)
    seen, unseen = load_films(settings, ct, cache)
    recipe = {"settings": asdict(settings), "model": eye(key).build(settings.seed).config.to_dict()}
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()[:12]
    return eye(key).train(settings, seen, unseen, cache / f"{key}-{digest}.pt")
