"""What goes into a method, what comes out of it, and what a method is."""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ..errors import MedgroundError
from ..geometry import Box
from ..wording import allowed, short

if TYPE_CHECKING:
    from ..lvlm import LVLM
    from ..params import Params

PROTOCOLS = ("medground", "published")
#: What a method may ask for beside the film, the prompt and the answer.
NEEDS = {
    "model": "asks the model that it explains; without it, ``lvlm`` is None",
    "gradients": "follows gradients through the model",
    "concepts": "``Item.concepts``: the boxes of anatomical regions",
    "normal": "``Item.normal``: what the film would look like if it were normal",
    "prior": "``Item.prior``: where the finding usually is in the dev split; with concepts, in the lungs' frame",
    "seed": "draws by chance: its setting ``seed`` is the seed of params.yaml, unless set itself",
    "detector": "an OWL-ViT: its setting ``detector`` is ``grounding.detector``, unless set itself",
    "segmenter": "a SAM: its setting ``segmenter`` is ``grounding.segmenter``, unless set itself",
}
#: The kinds of passes through the model that a method may take; ``benchmarks.flops`` counts the work of each.
PASSES = {
    "forward": "the film and a text with its answer, teacher-forced",
    "slope": "the same, and back to the pixels",
    "states": "and back to the states before the second decoder layer",
    "head": "and back to the last states",
    "relevance": "and back to the embeddings, attention held constant",
    "attention": "and back to the last layer's attention",
    "generation": "an answer written by the model",
}

Settings = Mapping[str, Any]
Function = Callable[..., "list[Attribution]"]
Needs = Collection[str] | Callable[[Settings], Collection[str]]
Passes = Mapping[str, int] | Callable[[Settings], Mapping[str, int]]


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
    prior: Box | None = None  # native pixels: where the finding usually is
    labels: str = "finding"  # what the expert's boxes draw: the finding, or the anatomical region that a report names


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
    seconds: float = 0.0  # not in the row: tables hold nothing that another run would not give
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
            seconds=row.get("seconds") or 0.0,
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
            "forwards": self.forwards,
        }


@dataclass(frozen=True)
class Method:
    """A method with its settings: what `register` says about a function, and how to run it.

    ``function(lvlm, items, **settings)`` returns one attribution per item, in order. Its settings are its keyword
    arguments that have a default; their annotations say which values are right.
    """

    name: str
    group: str  # attention | gradient | perturbation | prompting | medfocus | floor, or one of its own
    paper: str  # who published it, or what it does in a few words
    function: Function
    declared_needs: Needs = ("model",)
    declared_passes: Passes | None = None
    protocol: str = "medground"
    settings: Settings = field(default_factory=dict)

    @property
    def entry(self) -> str:
        """What it is called in params.yaml, in tables and on the board: ``rise``, or ``rise_published``."""
        return entry_name(self.name, self.protocol)

    @property
    def origin(self) -> str:
        """Where it is written."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    @cached_property
    def needs(self) -> frozenset[str]:
        """Which of `NEEDS` it has under its settings."""
        declared = self.declared_needs
        return frozenset(declared(self.settings) if callable(declared) else declared)

    @cached_property
    def passes(self) -> dict[str, int] | None:
        """How many passes of each kind of `PASSES` one case takes at most; None where the method does not say."""
        declared = self.declared_passes
        if declared is None:
            return {} if "model" not in self.needs else None
        return dict(declared(self.settings) if callable(declared) else declared)

    @property
    def concepts(self) -> str | None:
        """The table of data/anatomy that its items come with: concepts, or published; None where it needs none."""
        tables = {"medground": "concepts", "published": "published"}
        return tables[self.protocol] if "concepts" in self.needs else None

    @property
    def checkpoints(self) -> list[str]:
        """The folders or Hub ids of the models that it uses besides the one that it explains."""
        return [self.settings[name] for name in ("detector", "segmenter") if name in self.needs]

    def with_settings(self, **settings: Any) -> Method:
        """The same method, some settings changed; MedgroundError names each that is unknown or of a wrong value."""
        if problems := self.problems(settings):
            raise MedgroundError("; ".join(f"method {self.entry}: {problem}" for problem in problems))
        return replace(self, settings={**self.settings, **settings})

    def problems(self, settings: Settings) -> list[str]:
        """What is wrong with these settings: each that is unknown or of a wrong value, and what is allowed."""
        known = ", ".join(self.settings) or "none"
        found = [f"{name} is unknown; settings are: {known}" for name in settings if name not in self.settings]
        try:
            self._model(**{name: value for name, value in settings.items() if name in self.settings})
        except ValidationError as error:
            wrong = dict.fromkeys(str(problem["loc"][0]) for problem in error.errors())
            found += [
                f"{name} is {short(settings[name])}; it must be {allowed(self._model, (name,))}" for name in wrong
            ]
        return found

    def configured(self, params: Params) -> Method:
        """The same method with what ``params`` says: its section of ``attribute``, seed, detector, segmenter."""
        given = {"seed": params.seed, "detector": params.grounding.detector, "segmenter": params.grounding.segmenter}
        needed = {name: value for name, value in given.items() if name in self.needs}
        return self.with_settings(**{**needed, **params.attribute.get(self.entry, {})})

    def attribute(self, lvlm: LVLM | None, items: Sequence[Item], **settings: Any) -> list[Attribution]:
        """One attribution per item, in order; the batch's wall time is shared out evenly.

        ``settings`` change the method's own, as `with_settings` does.

        Raises MedgroundError where an item lacks what the method needs, or the function does not return one attribution
        for each item.
        """
        if settings:
            return self.with_settings(**settings).attribute(lvlm, items)
        self._check(lvlm, items)
        started = time.perf_counter()
        results = self.function(lvlm, items, **self.settings)
        seconds = (time.perf_counter() - started) / max(1, len(items))
        if [result.case_id for result in results] != [item.case_id for item in items]:
            raise MedgroundError(
                f"method {self.entry} returned attributions of {[result.case_id for result in results]}, not one for "
                f"each of {[item.case_id for item in items]}, in their order"
            )
        return [replace(result, seconds=seconds) for result in results]

    def _check(self, lvlm: LVLM | None, items: Sequence[Item]) -> None:
        if lvlm is None and "model" in self.needs:
            raise MedgroundError(f"method {self.entry} asks a model; it was given none")
        for item in items:
            if "concepts" in self.needs and not item.concepts:
                raise MedgroundError(
                    f"case {item.case_id} has no concept boxes, which {self.entry} needs; run the anatomy stage"
                )
            if "normal" in self.needs and item.normal is None:
                raise MedgroundError(f"case {item.case_id} has no normal film, which {self.entry} needs")

    @cached_property
    def _model(self) -> type[BaseModel]:
        return settings_model(self.function)

    def __reduce__(self) -> tuple:  # by name, since what it declares may be a lambda; the module registers it again
        return _restored, (self.function.__module__, self.name, self.protocol, dict(self.settings))


def entry_name(name: str, protocol: str) -> str:
    """What a method under a protocol is called in params.yaml, in tables and on the board.

    ``name`` is the method's.
    """
    return name if protocol == "medground" else f"{name}_{protocol}"


def settings_model(function: Function) -> type[BaseModel]:
    """A pydantic model of a function's settings: its keyword arguments with a default, checked by their annotations."""
    settings = {n: p for n, p in inspect.signature(function).parameters.items() if p.default is not p.empty}
    written = SimpleNamespace(__annotations__={name: p.annotation for name, p in settings.items()})
    kinds = get_type_hints(written, function.__globals__, include_extras=True)
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    fields: Any = {name: (kinds[name], p.default) for name, p in settings.items()}
    return create_model(function.__name__, __config__=config, **fields)


def _restored(module: str, name: str, protocol: str, settings: dict[str, Any]) -> Method:
    from .registry import method

    import_module(module)
    return replace(method(name, protocol), settings=settings)
