"""The metrics: one table that says of each what it is called, what it means, what it needs, and how it is measured.

Everything that shows or stores numbers reads it: the tables of scores and of the board, the terminal, the app, the
cards. A metric is added by one function, here or in a package of one's own that names the module under the entry point
``medground.metrics`` (docs/how-to/metric.md)::

    @metric("coverage_of_region", label="Region covered", help="share of the region's pixels above the map's mean")
    def coverage_of_region(case: Evidence) -> float:
        return float((case.heat[case.inside] > case.heat.mean()).mean())
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..doors import Door
from ..errors import MedgroundError
from ..geometry import Box
from .agreement import at_area, box_metrics, depth, favours, map_metrics

GROUP = "medground.metrics"  # of entry points
NEEDS = {
    "regions": "the expert's regions",
    "cause": "the region that is known to have caused the answer",
    "pair": "the same film and question, answered alike by two models from different causes",
    "model": "forwards of the model that is explained; a stage measures it on some cases",
}


@dataclass(frozen=True)
class Evidence:
    """What an attribution says about a case, beside the region that it is held against, on a canvas of the film.

    ``heat`` is a finite map ``[h, w]``, larger meaning more evidence; the k-th best of n boxes stands at
    (n - k + 1) / n above a zero ground. ``inside`` is the bool mask ``[h, w]`` of the region and ``region`` its boxes;
    ``boxes`` are those of the attribution, best first. Both are half-open, in pixels of the canvas. ``is_map`` tells a
    map from boxes. ``other`` is the mask of the other cause of a pair. ``published`` holds both kinds of boxes on the
    padded canvas of the published protocol, where that is what scores.
    """

    heat: np.ndarray
    inside: np.ndarray
    boxes: Sequence[Box]
    region: Sequence[Box]
    is_map: bool
    other: np.ndarray | None = None
    published: tuple[Sequence[Box], Sequence[Box]] | None = None

    @cached_property
    def of_boxes(self) -> dict[str, float]:
        """`box_metrics` of the boxes against the region."""
        if self.published is not None:
            return box_metrics(*self.published, "published")
        return box_metrics(self.boxes, self.region)

    @cached_property
    def of_map(self) -> dict[str, float]:
        """`map_metrics` of the map against the region."""
        return map_metrics(self.heat, self.inside)


@dataclass(frozen=True)
class Metric:
    """A number in ``low``..``high`` that says how good an attribution of one case is.

    ``needs`` is a key of `NEEDS`. ``measure`` takes the `Evidence` of a case; one that needs the model has none, and is
    measured by a stage. ``label`` and ``help`` are what people read.
    """

    name: str
    label: str
    help: str
    needs: str = "regions"
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0
    measure: Callable[[Evidence], float] | None = None

    @property
    def worst(self) -> float:
        """What a missing or invalid attribution scores."""
        return self.low if self.higher_is_better else self.high

    @property
    def origin(self) -> str:
        """Where it is written."""
        return "a stage" if self.measure is None else f"{self.measure.__module__}.{self.measure.__qualname__}"

    @property
    def arrow(self) -> str:
        """The label with the direction where small is good."""
        return self.label if self.higher_is_better else f"{self.label} ↓"

    def of(self, case: Evidence) -> float:
        """The metric of a case. Raises MedgroundError where the function returns what is not in its range."""
        if self.measure is None:
            raise MedgroundError(f"metric {self.name} is measured by a stage, which asks the model")
        value = float(self.measure(case))
        if not self.low <= value <= self.high:  # NaN is not, either
            raise MedgroundError(f"metric {self.name} is {value}; it says {self.low:g} to {self.high:g}")
        return value


class Metrics(Mapping[str, Metric]):
    """All metrics by name, in the order in which they were declared; those of other packages come last."""

    def __init__(self) -> None:
        self._door: Door[Metric] = Door(GROUP, "metric")
        self._declared: list[str] = []

    def add(self, metric: Metric) -> None:
        """Make a metric known. Raises MedgroundError for an unknown need, or a name that another one has."""
        if metric.needs not in NEEDS:
            raise MedgroundError(f"metric {metric.name} needs {metric.needs!r}; known: {', '.join(NEEDS)}")
        self._door.register(metric.name, metric)
        if metric.name not in self._declared:
            self._declared.append(metric.name)

    def that_need(self, *needs: str) -> list[Metric]:
        """The metrics with one of these needs, in order."""
        return [metric for metric in self.values() if metric.needs in needs]

    def __getitem__(self, name: str) -> Metric:
        if name not in self._door:
            raise KeyError(name)
        return self._door.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._door.names(), key=self._declared.index))

    def __len__(self) -> int:
        return len(self._door.names())


METRICS = Metrics()


def metric(
    name: str,
    *,
    label: str,
    help: str,
    needs: str = "regions",
    higher_is_better: bool = True,
    low: float = 0.0,
    high: float = 1.0,
) -> Callable[[Callable[[Evidence], float]], Callable[[Evidence], float]]:
    """Declare the decorated function, `Evidence` in and a number in ``low``..``high`` out, as a metric.

    ``name`` is its column, ``label`` its heading and ``help`` what is said of it; ``needs`` is a key of `NEEDS`, and
    where not ``higher_is_better``, ``high`` is the worst value.
    Raises MedgroundError for an unknown need, or a name that another function has.
    """

    def declare(function: Callable[[Evidence], float]) -> Callable[[Evidence], float]:
        METRICS.add(Metric(name, label, help, needs, higher_is_better, low, high, function))
        return function

    return declare


def sources() -> list[Path]:
    """The files that the metrics are written in: what scores depend on."""
    modules = {metric.measure.__module__ for metric in METRICS.values() if metric.measure}
    files = {getattr(sys.modules.get(module), "__file__", None) for module in modules}
    return sorted(Path(file) for file in files if file)


@metric(
    "follows",
    label="Follows",
    needs="pair",
    help="in a pair, denser on the own cause than on the other model's; the board counts pairs where both are",
)
def follows(case: Evidence) -> float:
    return float(case.other is not None and favours(case.heat, case.inside, case.other))


@metric(
    "cause_pointing",
    label="Points at the cause",
    needs="cause",
    help="pointing game on what caused the answer, whatever the expert drew",
)
def cause_pointing(case: Evidence) -> float:
    return hit(case)


@metric(
    "cause_precision",
    label="Average precision on the cause",
    needs="cause",
    help="average precision of the map's pixels on what caused the answer",
)
def cause_precision(case: Evidence) -> float:
    return average_precision(case)


@metric("iou", label="IoU", help="union of the boxes against the union of the expert's, at the paper's threshold")
def iou(case: Evidence) -> float:
    return case.of_boxes["iou"]


@metric(
    "iou_at_area",
    label="IoU at equal area",
    help="IoU of the hottest pixels, as many as the expert's region has; boxes grow or shrink about their centres",
)
def iou_at_area(case: Evidence) -> float:
    heat = case.heat if case.is_map else depth(case.boxes, *case.inside.shape)
    return at_area(heat, case.inside)


@metric("f1", label="F1", help="harmonic mean of precision and recall of the boxes' area")
def f1(case: Evidence) -> float:
    return case.of_boxes["f1"]


@metric("precision", label="Precision", help="share of the boxes' area that lies in the expert's region")
def precision(case: Evidence) -> float:
    return case.of_boxes["precision"]


@metric("recall", label="Recall", help="share of the expert's region that the boxes cover")
def recall(case: Evidence) -> float:
    return case.of_boxes["recall"]


@metric(
    "hit",
    label="Pointing",
    help="pointing game: the hottest pixel lies inside (ties by their share); boxes point by the centre of the best",
)
def hit(case: Evidence) -> float:
    if case.is_map:
        return case.of_map["hit"]
    x1, y1, x2, y2 = case.boxes[0]
    height, width = case.inside.shape
    return float(case.inside[min(int((y1 + y2) / 2), height - 1), min(int((x1 + x2) / 2), width - 1)])


@metric("energy", label="Energy inside", help="share of the positive evidence that lies inside")
def energy(case: Evidence) -> float:
    return case.of_map["energy"]


@metric("average_precision", label="Average precision", help="average precision of the pixels ranked by heat")
def average_precision(case: Evidence) -> float:
    return case.of_map["average_precision"]


METRICS.add(
    Metric(
        "deletion",
        label="Deletion",
        help="area under the answer's probability as the film is exchanged for a normal one, the hottest pixels first",
        needs="model",
        higher_is_better=False,
    )
)
METRICS.add(
    Metric(
        "insertion",
        label="Insertion",
        help="area under the answer's probability as the film comes back in a normal one, the hottest pixels first",
        needs="model",
    )
)
