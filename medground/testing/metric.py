"""Is a metric what tables, ranking and board take it for? The checks that our own metrics pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ..geometry import Box, fill
from ..scoring import METRICS, Evidence, Metric
from ..scoring.metrics import NEEDS
from .checks import holds, run

HEIGHT, WIDTH = 24, 32  # of the canvas of the examples
REGIONS: dict[str, list[Box]] = {
    "one box": [(4.0, 6.0, 12.0, 16.0)],
    "two boxes": [(2.0, 2.0, 9.0, 9.0), (20.0, 12.0, 28.0, 22.0)],
    "one pixel": [(30.0, 22.0, 31.0, 23.0)],
    "the whole film": [(0.0, 0.0, float(WIDTH), float(HEIGHT))],
}


def check_metric(metric: Metric | str) -> None:
    """Check a metric that is measured on `Evidence`: what it declares, and what it says about examples of every kind.

    What is checked: it is registered under its name, and says what people read; on maps and boxes, whatever the region,
    its number lies between ``low`` and ``high``; the same evidence gives the same number, and is left as it was; and a
    map that is the region does at least as well as its opposite, so that ``higher_is_better`` points the right way.
    Raises AssertionError that lists all that is wrong.
    """
    chosen = METRICS[metric] if isinstance(metric, str) else metric
    checks: dict[str, Callable[[], None]] = {
        "registration": partial(_registration, chosen),
        "words": partial(_words, chosen),
        "range": partial(_range, chosen),
        "determinism": partial(_determinism, chosen),
        "direction": partial(_direction, chosen),
    }
    run(f"the metric {chosen.name!r}", checks)


def _registration(metric: Metric) -> None:
    holds(METRICS.get(metric.name) is metric, f"it is not registered as {metric.name!r}; use @metric")
    holds(metric.measure is not None, "it has no function; a metric that asks the model is measured by a stage")


def _words(metric: Metric) -> None:
    holds(metric.name.isidentifier(), f"{metric.name!r} is no name of a column; use letters, digits and underscores")
    holds(bool(metric.label.strip()), "label is empty; say what the board calls it")
    holds(bool(metric.help.strip()), "help is empty; say in a sentence what it measures")
    holds(metric.needs in NEEDS, f"it needs {metric.needs!r}; known: {', '.join(NEEDS)}")
    holds(metric.low < metric.high, f"its range is {metric.low:g} to {metric.high:g}; low is below high")


def _range(metric: Metric) -> None:
    for name, evidence in _examples():
        try:
            metric.of(evidence)
        except Exception as error:
            holds(False, f"{name}: {error}")


def _determinism(metric: Metric) -> None:
    for (name, given), (_, untouched) in zip(_examples(), _examples(), strict=True):
        values = [metric.of(given), metric.of(given)]
        same = np.array_equal(given.heat, untouched.heat) and np.array_equal(given.inside, untouched.inside)
        holds(same and given.boxes == untouched.boxes, f"{name}: it changes the evidence that it is given")
        holds(len({*values, metric.of(untouched)}) == 1, f"{name}: the same evidence gives another number")


def _direction(metric: Metric) -> None:
    sign = 1 if metric.higher_is_better else -1
    region = REGIONS["one box"]
    inside = fill(region, HEIGHT, WIDTH)
    other = fill([(20.0, 6.0, 28.0, 16.0)], HEIGHT, WIDTH)
    right, wrong = (
        metric.of(Evidence(heat.astype(np.float32), inside, boxes, region, True, other))
        for heat, boxes in ((inside, region), (~inside, [(20.0, 6.0, 28.0, 16.0)]))
    )
    better = "higher" if metric.higher_is_better else "lower"
    holds(sign * right >= sign * wrong, f"{better} is better, and the region scores {right:g}, its opposite {wrong:g}")


def _examples() -> Iterator[tuple[str, Evidence]]:
    """Maps and boxes of several kinds against every region; made anew each time."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    other = fill([(14.0, 1.0, 19.0, 8.0)], HEIGHT, WIDTH)
    maps = {
        "noise": np.random.default_rng(0).random((HEIGHT, WIDTH)),
        "a slope below zero": -(rows + columns) / (HEIGHT + WIDTH),
        "one hot pixel": (rows == 3) & (columns == 5),
    }
    for where, region in REGIONS.items():
        inside = fill(region, HEIGHT, WIDTH)
        for what, heat in maps.items():
            y, x = np.unravel_index(int(heat.argmax()), heat.shape)
            boxes = [(float(x), float(y), float(x + 1), float(y + 1))]
            yield f"{what} against {where}", Evidence(heat.astype(np.float32), inside, boxes, region, True, other)
        boxes = [(1.0, 1.0, 14.0, 12.0), (10.0, 8.0, 30.0, 20.0)]
        ranked = np.where(fill(boxes[:1], HEIGHT, WIDTH), 1.0, fill(boxes[1:], HEIGHT, WIDTH) * 0.5)
        yield f"boxes against {where}", Evidence(ranked.astype(np.float32), inside, boxes, region, False, other)
