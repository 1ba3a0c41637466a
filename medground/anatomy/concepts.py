"""From samples to the concepts table, and how well its boxes fit where the truth is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .. import films
from ..errors import MedgroundError
from ..geometry import Box, Letterbox, area, box_of, intersect
from .references import References
from .registration import SIDE, Registration
from .transfer import Located, Locator


@dataclass
class LocateTask:
    """Rows of `records.SAMPLES` in, rows of `records.CONCEPTS` out; reads the references once.

    ``segmenter`` is the checkpoint of a SAM that tightens every box, or None.
    """

    references: Path
    protocol: str = "medground"
    solver: str = "separable"
    segmenter: str | None = None

    def __call__(self, samples: list[dict]) -> list[dict]:
        """Raises MedgroundError naming the film on which nothing can be found."""
        names = list(dict.fromkeys(sample["film"] for sample in samples))
        images = [films.read(name) for name in names]
        transferred = [self._transferred(*named) for named in zip(names, images, strict=True)]
        found = dict(zip(names, self._locator.tightened(images, transferred), strict=True))
        return [
            {**_key(s), "concept": c, "box": box, "reference": name, "cost": cost}
            for s in samples for c, box, name, cost in found[s["film"]]
        ]  # fmt: skip

    def _transferred(self, name: str, film: np.ndarray) -> list[Located]:
        try:
            return self._locator.transferred(film)
        except MedgroundError as error:
            raise MedgroundError(f"{name}: {error}; remove its samples") from None

    @cached_property
    def _locator(self) -> Locator:
        how = Registration(solver=self.solver)
        return Locator(References.read(self.references), self.protocol, how, _segmenter(self.segmenter))


def copies(samples: Iterable[Mapping], references: References, names: Mapping[tuple, str] | None = None) -> list[dict]:
    """The floor: boxes of references as they are, as if every film showed the same body in the same pose.

    With ``names`` ``(source, index) -> reference`` those of one reference a sample, else the mean over all of them.
    """
    boxes = np.array([[box_of(mask) or [np.nan] * 4 for mask in masks] for masks in references.masks])
    rows = []
    for s in samples:
        letterbox = Letterbox.fit(s["width"], s["height"], SIDE)
        one = boxes[references.names.index(names[s["source"], s["index"]])] if names else np.nanmean(boxes, axis=0)
        for concept, box in zip(references.concepts, one, strict=True):
            if np.isfinite(box).all():
                rows.append({**_key(s), "concept": concept, "box": letterbox.to_native(tuple(box.tolist()))})
    return rows


def overlap(samples: Iterable[Mapping], rows: Iterable[Mapping]) -> dict[str, float]:
    """Mean IoU of located boxes with the true ones: ``mean`` over concepts, and each concept; {} without truth.

    A film counts once however many samples it has; a concept that was not found counts 0.
    """
    found = {(r["source"], r["index"], r["concept"]): tuple(r["box"]) for r in rows}
    scores = defaultdict(list)
    for sample in _films(samples):
        for true in sample["anatomy"] or ():
            box = found.get((sample["source"], sample["index"], true["concept"]))
            scores[true["concept"]].append(_iou(box, tuple(true["box"])) if box else 0.0)
    if not scores:
        return {}
    means = {concept: float(np.mean(values)) for concept, values in scores.items()}
    return {"mean": float(np.mean(list(means.values()))), **means}


def _segmenter(where: str | None):
    if where is None:
        return None
    from ..grounding.segmenter import MedSAM  # imports torch

    return MedSAM.load(where)


def _films(samples: Iterable[Mapping]) -> Iterator[Mapping]:
    seen = set()
    for sample in samples:
        if sample["film"] not in seen:
            seen.add(sample["film"])
            yield sample


def _key(sample: Mapping) -> dict:
    return {"source": sample["source"], "index": sample["index"]}


def _iou(a: Box, b: Box) -> float:
    common = intersect(a, b)
    return area(common) / (area(a) + area(b) - area(common)) if common else 0.0
