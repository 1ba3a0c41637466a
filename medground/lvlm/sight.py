"""What the vision tower makes of films, kept while they are asked about in more than one way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

MOST_BYTES = 2**28  # of vision features that are kept: some 200 films of the published models


class Sight:
    """A vision tower that looks once at each image, as long as it is told to remember.

    ``tower`` turns the pixel arguments of images, one mapping each, into the output of ``get_image_features``: its
    ``pooler_output`` has one entry an image, as one tensor or as a sequence.
    """

    def __init__(self, tower: Callable[[Sequence[dict[str, Tensor]]], Any], most_bytes: int = MOST_BYTES):
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

    def __call__(self, images: Sequence[np.ndarray], pixels: Sequence[dict[str, Tensor]]) -> BaseModelOutputWithPooling:
        """What ``get_image_features`` says of the images, in their order; each of them once, if it comes twice.

        ``images`` are uint8 ``[h, w]``, ``pixels`` the arguments of the model that show each.
        """
        features = {key: kept for key, (_, kept) in self._kept.items()}
        new = {id(image): shown for image, shown in zip(images, pixels, strict=True) if id(image) not in features}
        if new:
            seen = self._tower(list(new.values())).pooler_output
            self._join = torch.stack if isinstance(seen, Tensor) else tuple
            features |= zip(new, seen, strict=True)
        if self._remembers:
            self._keep(images, features)
        return BaseModelOutputWithPooling(pooler_output=self._join([features[id(image)] for image in images]))

    def _keep(self, images: Sequence[np.ndarray], features: Mapping[int, Tensor]) -> None:
        for image in images:
            if id(image) not in self._kept:
                self._kept[id(image)] = image, features[id(image)].clone()  # not a view, which would hold its batch
            self._kept.move_to_end(id(image))
        held = sum(kept.nbytes for _, kept in self._kept.values())
        while held > self._most_bytes:
            held -= self._kept.popitem(last=False)[1][1].nbytes
