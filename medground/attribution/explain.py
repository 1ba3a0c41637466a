"""The work of the attribute stage: rows of cases in, rows of ``records.ATTRIBUTIONS`` and their seconds out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from .. import films
from .items import Items
from .method import Method


@dataclass
class AttributeTask:
    """Explain kept cases of ``model``, given as pairs of a method's name and a row of the cases table.

    ``methods`` has each method with what makes its items. The model is loaded where it is needed, once a process.
    """

    model: str
    methods: Mapping[str, tuple[Method, Items]]
    most_pixels: int = 0  # of `LVLM`

    def __call__(self, jobs: list[tuple[str, dict]]) -> list[dict]:
        return [row for name, some in groupby(jobs, lambda job: job[0]) for row in self._explain(name, some)]

    def _explain(self, name: str, jobs) -> list[dict]:
        method, items = self.methods[name]
        cases = [case for _, case in jobs]
        films.ahead(items.film(case) for case in cases)
        lvlm = _loaded(self.model, self.most_pixels) if "model" in method.needs else None
        return [
            found.row() | {"seconds": found.seconds}
            for found in method.attribute(lvlm, [items(case) for case in cases])
        ]


@lru_cache(maxsize=1)
def _loaded(model: str, most_pixels: int):
    from ..lvlm import load_lvlm  # imports torch: only in the worker that asks

    return load_lvlm(model, most_pixels=most_pixels)
