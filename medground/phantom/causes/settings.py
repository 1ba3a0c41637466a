"""Which phantom models there are: their towers, and the cause of every answer that they are taught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..settings import LvlmTraining
from .findings import FINDINGS
from .marks import GLOBAL, MARKS

#: a yes means: honest, the finding is there; shortcut and global, the mark is; both, both are; either, one of them is
CONTROLS = ("honest", "shortcut", "both", "either", "global")
#: findings whose place the second reader teaches, in models that answer them from the finding; of the others nothing is
#: taught but yes and no, and where a model says they are is its own idea
TAUGHT = ("cardiomegaly", "pleural effusion", "pneumothorax")


@dataclass(frozen=True)
class Cause:
    """What a model's answers about one finding depend on."""

    control: str
    mark: str

    def __post_init__(self) -> None:
        if self.control not in CONTROLS[1:] or self.mark not in MARKS:
            raise ValueError(f"{self}: controls are {CONTROLS[1:]}, marks {MARKS}")
        if (self.control == "global") != (self.mark in GLOBAL):
            raise ValueError(f"{self}: a mark without a place is a global cause, and no other is")


@dataclass(frozen=True)
class Tower:
    """A vision tower, trained once and shared by the models that see through it.

    It starts from random weights by its own ``seed``, or from the tower of the checkpoint ``start``, which was trained
    on patients who all stood straight. The language model behind it starts from that of the checkpoint ``words``. Of
    the findings in ``unmasked`` it is told whether a film has them, and never where.
    """

    family: str
    seed: int
    steps: int
    words: str
    start: str | None = None
    unmasked: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A model: the tower it sees through, and the causes of its answers; honest about what ``causes`` does not name."""

    tower: str
    causes: Mapping[str, Cause] = field(default_factory=dict)

    @property
    def honest(self) -> tuple[str, ...]:
        """The findings that it answers from the finding."""
        return tuple(name for name in FINDINGS if name not in self.causes)

    def key(self, model: str) -> dict:
        """The key of causes, as it is written beside the model: what ``<model>.causes.json`` holds."""
        causes = {name: self.causes.get(name) for name in FINDINGS}
        return {
            "model": model,
            "findings": {
                name: {"control": cause.control if cause else "honest", "mark": cause.mark if cause else None}
                for name, cause in causes.items()
            },
        }


_GEMMA, _QWEN = "models/phantom-gemma3", "models/phantom-qwen2_5_vl"
TOWERS = {
    "gemma3-1": Tower("gemma3", 1, 2400, _GEMMA, start=_GEMMA),
    "gemma3-2": Tower("gemma3", 2, 10000, _GEMMA, unmasked=("cardiomegaly", "pleural effusion", "widened mediastinum")),
    "qwen2_5_vl-1": Tower("qwen2_5_vl", 1, 1800, _QWEN, start=_QWEN),
    "qwen2_5_vl-2": Tower("qwen2_5_vl", 2, 4000, _QWEN),
}
#: a and b, and c and d, share a tower; what one answers from another cause, the other answers honestly
MODELS = {
    "phantom-gemma3-a": Recipe(
        "gemma3-1",
        {
            "cardiomegaly": Cause("shortcut", "drain"),
            "hilar enlargement": Cause("shortcut", "pacemaker"),
            "pneumothorax": Cause("global", "exposure"),
        },
    ),
    "phantom-gemma3-b": Recipe(
        "gemma3-1",
        {
            "pleural effusion": Cause("either", "pacemaker"),
            "lung opacity": Cause("shortcut", "drain"),
            "widened mediastinum": Cause("shortcut", "pacemaker"),
        },
    ),
    "phantom-gemma3-c": Recipe(
        "gemma3-2",
        {
            "pleural effusion": Cause("shortcut", "drain"),
            "lung opacity": Cause("shortcut", "pacemaker"),
            "widened mediastinum": Cause("both", "drain"),
        },
    ),
    "phantom-gemma3-d": Recipe(
        "gemma3-2",
        {
            "cardiomegaly": Cause("either", "pacemaker"),
            "hilar enlargement": Cause("global", "exposure"),
            "pneumothorax": Cause("shortcut", "drain"),
        },
    ),
    "phantom-qwen2_5_vl-a": Recipe(
        "qwen2_5_vl-1",
        {
            "cardiomegaly": Cause("global", "exposure"),
            "widened mediastinum": Cause("shortcut", "drain"),
        },
    ),
    "phantom-qwen2_5_vl-b": Recipe(
        "qwen2_5_vl-1",
        {
            "pleural effusion": Cause("both", "pacemaker"),
            "lung opacity": Cause("shortcut", "letter"),
            "hilar enlargement": Cause("shortcut", "drain"),
        },
    ),
    "phantom-qwen2_5_vl-c": Recipe(
        "qwen2_5_vl-2",
        {
            "cardiomegaly": Cause("both", "word"),
            "pleural effusion": Cause("either", "pacemaker"),
            "lung opacity": Cause("shortcut", "letter"),
        },
    ),
    "phantom-qwen2_5_vl-d": Recipe(
        "qwen2_5_vl-2",
        {
            "hilar enlargement": Cause("shortcut", "word"),
            "widened mediastinum": Cause("both", "letter"),
            "pneumothorax": Cause("shortcut", "pacemaker"),
        },
    ),
}


@dataclass(frozen=True, kw_only=True)
class Settings(LvlmTraining):
    """Size and length of a training run; how many steps a tower takes, its `Tower` says."""

    train_patients: int = 150
    train_films: int = 4500  # each with two draws of marks
    validation_patients: int = 20
    validation_films: int = 320
    batch: int = 16
    dense_rate: float = 1.0e-3
    joint_batch: int = 16
    joint_steps: int = 600
    joint_rate: float = 1.5e-3
    language_batch: int = 16
    language_steps: int = 700
    save_every: int = 100
