"""What goes into a method, what comes out of it, and what a method is."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import MedgroundError
from ..geometry import Box


@dataclass(frozen=True)
class Item:
    """One case to explain: a film, what the model was asked and what it answered."""

    case_id: str
    film: np.ndarray  # uint8 [H, W], native size
    prompt: str  # the question as it was asked, with the mode's suffix
    answer: str  # what the model wrote
    finding: str = ""  # what was asked about; prompting methods ask where it is
    concepts: tuple[tuple[str, Box], ...] = ()  # anatomical regions, native pixels
    normal: np.ndarray | None = None  # uint8 [H, W]: what the film would look like if it were normal


@dataclass(frozen=True)
class Attribution:
    """What a method says about a case: a grid with the native extent it covers, or boxes."""

    case_id: str
    grid: np.ndarray | None = None  # [h, w], larger means more evidence for the answer
    extent: Box | None = None  # native pixels; given with the grid
    boxes: list[Box] | None = None  # native pixels, best first
    concepts: list[tuple[str, Box, float]] | None = None  # best explanation first, each with its effect
    tokens: list[tuple[str, float]] | None = None  # the answer's tokens in order, each with its effect
    note: dict[str, Any] | None = None  # what the method has to say about itself
    seconds: float = 0.0
    forwards: int = 0

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Attribution:
        """The attribution of a row of ``records.ATTRIBUTIONS``."""
        grid = row["grid"]
        if grid is not None:
            grid = np.asarray(grid, np.float32).reshape(row["grid_height"], row["grid_width"])
        return cls(
            case_id=row["case_id"],
            grid=grid,
            extent=row["extent"] and tuple(row["extent"]),
            boxes=None if row["boxes"] is None else [tuple(box) for box in row["boxes"]],
            concepts=row["concepts"] and [(c["concept"], tuple(c["box"]), c["effect"]) for c in row["concepts"]],
            tokens=row["tokens"] and [(t["token"], t["effect"]) for t in row["tokens"]],
            note=row["note"] and json.loads(row["note"]),
            seconds=row["seconds"],
            forwards=row["forwards"],
        )

    def row(self) -> dict:
        """The row of ``records.ATTRIBUTIONS``."""
        grid = None if self.grid is None else np.asarray(self.grid, np.float32)
        concepts, tokens = self.concepts, self.tokens
        return {
            "case_id": self.case_id,
            "grid": None if grid is None else grid.ravel(),
            "grid_height": None if grid is None else grid.shape[0],
            "grid_width": None if grid is None else grid.shape[1],
            "extent": self.extent,
            "boxes": self.boxes,
            "concepts": concepts and [{"concept": c, "box": b, "effect": e} for c, b, e in concepts],
            "tokens": tokens and [{"token": t, "effect": e} for t, e in tokens],
            "note": self.note and json.dumps(self.note, sort_keys=True),
            "seconds": self.seconds,
            "forwards": self.forwards,
        }


@dataclass(frozen=True)
class Method:
    """A method by name: where it is written, with which settings it runs, and who published it.

    ``function`` is ``module:function`` below ``medground.attribution``, called as
    ``function(lvlm, items, **settings) -> list[Attribution]`` with one attribution per item, in order. It is imported
    on first use, so that the registry costs nothing and a floor never loads torch.
    """

    name: str
    group: str  # attention | gradient | perturbation | prompting | medfocus | floor
    paper: str
    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    concepts: str | None = None  # the table of data/anatomy that its items come with: concepts or paper

    @property
    def needs_model(self) -> bool:
        """Whether ``attribute`` asks the model anything."""
        return self.group != "floor"

    @property
    def needs_normal(self) -> bool:
        """Whether its items come with a normal film, drawn from the references."""
        return self.settings.get("fill") == "normal"

    @property
    def checkpoints(self) -> list[str]:
        """The folders or Hub ids of the models that it uses besides the one that it explains."""
        return [self.settings[name] for name in ("detector", "segmenter") if name in self.settings]

    def with_settings(self, **settings: Any) -> Method:
        """The same method, some settings changed; an unknown one raises MedgroundError."""
        unknown = sorted(set(settings) - set(self.settings))
        if unknown:
            known = ", ".join(self.settings) or "none"
            raise MedgroundError(f"method {self.name} has no setting {', '.join(unknown)}; it has: {known}")
        return replace(self, settings={**self.settings, **settings})

    def configured(self, params: Any) -> Method:
        """The same method with the seed, the detector and the segmenter of ``params``, where it has such settings."""
        given = {"seed": params.seed, "detector": params.grounding.detector, "segmenter": params.grounding.segmenter}
        return self.with_settings(**{name: value for name, value in given.items() if name in self.settings})

    def attribute(self, lvlm: Any, items: Sequence[Item]) -> list[Attribution]:
        """One attribution per item, in order; the batch's wall time is shared out evenly."""
        module, name = self.function.split(":")
        function = getattr(import_module(f"{__package__}.{module}"), name)
        started = time.perf_counter()
        results = function(lvlm, items, **self.settings)
        seconds = (time.perf_counter() - started) / max(1, len(items))
        return [replace(result, seconds=seconds) for result in results]
