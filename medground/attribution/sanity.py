"""What methods say after the model or the film was changed: the maps that `medground.scoring.sanity` compares."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from ..scoring.sanity import NOISE
from .items import Items
from .method import Method

if TYPE_CHECKING:
    from ..lvlm import LVLM


@dataclass
class SanityTask:
    """Explain cases of ``model`` again, given as triples of a change, a method's name and a row of the cases table.

    A change is ``noise``, or ``decoder:N``: the last N decoder layers re-initialised. ``methods`` has each method with
    what makes its items. The answer that is explained stays what the model wrote.
    """

    model: str
    methods: Mapping[str, tuple[Method, Items]]
    seed: int
    most_pixels: int = 0  # of `LVLM`

    def __call__(self, jobs: list[tuple[str, str, dict]]) -> list[dict]:
        rows = []
        for (change, name), some in groupby(jobs, lambda job: job[:2]):
            method, items = self.methods[name]
            kind, _, layers = change.partition(":")
            lvlm = _changed(self.model, int(layers or 0), self.seed, self.most_pixels)
            found = [items(case) for *_, case in some]
            if kind == "noise":
                found = [replace(item, film=self._noisy(item.film, item.case_id)) for item in found]
            rows += [one.row() for one in method.attribute(lvlm, found)]
        return rows

    def _noisy(self, film: np.ndarray, case_id: str) -> np.ndarray:
        rng = np.random.default_rng([self.seed, zlib.crc32(case_id.encode())])
        return np.clip(np.round(film + rng.normal(0, NOISE, film.shape)), 0, 255).astype(np.uint8)


def reinitialised(lvlm: LVLM, layers: int, seed: int) -> LVLM:
    """A copy of a model whose last ``layers`` decoder layers have normal weights of the spread that they had.

    Norms and biases, which have one dimension, stay: they hold no map.
    """
    import torch  # only in the worker that asks

    changed = deepcopy(lvlm)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in changed.layers[max(0, len(changed.layers) - layers) :]:
            for weight in layer.parameters():
                if weight.dim() > 1:
                    drawn = torch.randn(weight.shape, generator=generator) * float(weight.std())
                    weight.copy_(drawn.to(weight))
    return changed


@lru_cache(maxsize=4)
def _changed(model: str, layers: int, seed: int, most_pixels: int) -> LVLM:
    from ..lvlm import load_lvlm  # imports torch

    lvlm = _changed(model, 0, seed, most_pixels) if layers else load_lvlm(model, most_pixels=most_pixels)
    return reinitialised(lvlm, layers, seed) if layers else lvlm
