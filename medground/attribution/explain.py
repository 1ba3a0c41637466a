"""The work of the attribute stage: rows of cases in, rows of ``records.ATTRIBUTIONS`` out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .items import Items
from .method import Method


@dataclass
class Explain:
    """Run ``method`` on kept cases of ``model``. The model is loaded where it is needed, once a process."""

    model: str
    method: Method
    items: Items

    def __call__(self, cases: list[dict]) -> list[dict]:
        lvlm = _loaded(self.model) if self.method.needs_model else None
        return [found.row() for found in self.method.attribute(lvlm, [self.items(case) for case in cases])]


@lru_cache(maxsize=1)
def _loaded(model: str):
    from ..lvlm import load_lvlm  # imports torch: only in the worker that asks

    return load_lvlm(model)
