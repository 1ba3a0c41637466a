"""How the phantom's segmenter and detector see a film: the image processors that go into their checkpoints."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

SEGMENTER_SIDE, DETECTOR_SIDE = 256, 224
_GRAY = [0.5] * 3  # mean and deviation of each channel: pixels from -1 to 1


@lru_cache
def segmenter_processor() -> SamImageProcessorPil:
    """Longer side to `SEGMENTER_SIDE`, then padded to a square at the right or below."""
    side = SEGMENTER_SIDE
    padded = {"height": side, "width": side}
    return SamImageProcessorPil(size={"longest_edge": side}, pad_size=padded, image_mean=_GRAY, image_std=_GRAY)


@lru_cache
def detector_processor() -> OwlViTImageProcessorPil:
    """Stretched to a square of `DETECTOR_SIDE`."""
    square = {"height": DETECTOR_SIDE, "width": DETECTOR_SIDE}
    return OwlViTImageProcessorPil(size=square, image_mean=_GRAY, image_std=_GRAY)


def resized(processor: SamImageProcessorPil | OwlViTImageProcessorPil, film: np.ndarray) -> np.ndarray:
    """A uint8 film ``[H, W]`` as a processor resizes it, before it is normalised and padded: uint8 ``[h, w]``."""
    only_size: dict[str, Any] = {"do_rescale": False, "do_normalize": False}
    if isinstance(processor, SamImageProcessorPil):
        only_size["do_pad"] = False
    pixels = processor([Image.fromarray(film)], return_tensors="np", **only_size)["pixel_values"][0][0]
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
