"""What the vision tower makes of films, kept while they are asked about in more than one way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

MOST_BYTES = 2**28  # of vision features that are kept: some 200 films of the published models


class Sight:
    """A vision tower that looks once at each image, as long as it is told to remember.

    ``tower`` turns images, uint8 ``[h, w]`` each, into the output of ``get_image_features``: its ``pooler_output`` has
    one entry an image, as one tensor or as a sequence.
    """

    def __init__(self, tower: Callable[[Sequence[np.ndarray]], Any], most_bytes: int = MOST_BYTES):
        self._tower, self._most_bytes = tower, most_bytes
        self._kept: OrderedDict[int, tuple[np.ndarray, Tensor]] = OrderedDict()  # by the identity of an image, with it
        self._remembers = False
        self._join: Callable[[list[Tensor]], Any] = torch.stack

    @contextmanager
    def remembered(self) -> Iterator[None]:
        """Within this, an image that is the same object is looked at once. The tower must not change meanwhile."""
        self._remembers = True
        try:
            yield
        finally:
            self._remembers = False
            self._kept.clear()

    def __call__(self, images: Sequence[np.ndarray]) -> BaseModelOutputWithPooling:
        """What ``get_image_features`` says of the images, in their order; each of them once, if it comes twice."""
        features = {key: kept for key, (_, kept) in self._kept.items()}
        new = list({id(image): image for image in images if id(image) not in features}.values())
        if new:
            seen = self._tower(new).pooler_output
            self._join = torch.stack if isinstance(seen, Tensor) else tuple
            features |= {id(image): own for image, own in zip(new, seen, strict=True)}
        if self._remembers:
            for image in images:
                self._keep(image, features[id(image)])
        return BaseModelOutputWithPooling(pooler_output=self._join([features[id(image)] for image in images]))

    def _keep(self, image: np.ndarray, features: Tensor) -> None:
        if id(image) not in self._kept:
            self._kept[id(image)] = image, features.clone()  # not a view, which would hold its whole batch
        self._kept.move_to_end(id(image))
        while sum(kept.nbytes for _, kept in self._kept.values()) > self._most_bytes:
            self._kept.popitem(last=False)
