"""A promptable segmenter (SAM, MedSAM): from a rough box to the tight box of what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import SamModel, SamVisionConfig
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from ..geometry import Box, as_box, box_of
from .checkpoint import load_parts

_FILMS = 8  # encoded at once


class MedSAM:
    """``SamModel`` with box prompts. Ma et al., "Segment anything in medical images", Nature Communications 2024.

    A box gives one mask, as its authors train and use it (bowang-lab/MedSAM, ``multimask_output=False``). Under
    ``published`` it is asked for SAM's three masks, which it was not trained to give, and the one is taken that SAM
    believes in most. A film is encoded once, and all its boxes are decoded in one call.
    """

    def __init__(self, model: SamModel, processor: SamImageProcessorPil):
        self.model, self.processor = model, processor

    @classmethod
    def load(cls, where: str) -> MedSAM:
        """From a folder or a Hub id (the paper's: ``flaviagiammarino/medsam-vit-base``)."""
        return cls(*load_parts(where, (SamModel, SamImageProcessorPil)))

    def refine(
        self, films: Sequence[np.ndarray], boxes: Sequence[Sequence[Box]], protocol: str = "medground"
    ) -> list[list[Box]]:
        """The tight box of each box's mask, native pixels; an empty mask leaves its box as it was.

        ``films`` are uint8 ``[H, W]`` of any sizes, ``boxes`` a list of native boxes for each. ``published`` is the
        paper's way: whole pixels, before and after cut to the last one of the film, which a box then does not hold.
        """
        if protocol == "published":
            boxes = [[_cut(box, film) for box in some] for film, some in zip(films, boxes, strict=True)]
        refined: list[list[Box]] = []
        for film, masks, some in zip(films, self.masks(films, boxes, protocol), boxes, strict=True):
            tight = [box_of(mask) or as_box(box) for mask, box in zip(masks, some, strict=True)]
            refined.append([_cut(box, film) for box in tight] if protocol == "published" else tight)
        return refined

    @torch.inference_mode()
    def masks(
        self, films: Sequence[np.ndarray], boxes: Sequence[Sequence[Box]], protocol: str = "medground"
    ) -> list[np.ndarray]:
        """For each film the masks of its boxes, bool ``[N, H, W]``: one a box, or as published the best of three.

        ``published`` enlarges probabilities, ``medground`` their logits.
        """
        masks = []
        for start in range(0, len(films), _FILMS):
            some = films[start : start + _FILMS]
            inputs = self.processor([Image.fromarray(film) for film in some], return_tensors="pt")
            codes = self.model.get_image_embeddings(inputs["pixel_values"].to(self.model.device, self.model.dtype))
            sizes = zip(inputs["reshaped_input_sizes"].tolist(), codes, boxes[start : start + _FILMS], strict=True)
            masks += [self._decode(f, c[None], b, size, protocol) for f, (size, c, b) in zip(some, sizes, strict=True)]
        return masks

    def _decode(
        self, film: np.ndarray, code: Tensor, boxes: Sequence[Box], size: Sequence[int], protocol: str
    ) -> np.ndarray:
        """Masks ``[N, H, W]`` of native ``boxes``; ``size`` is the film's (height, width) on SAM's padded canvas."""
        height, width = film.shape
        if not boxes:
            return np.zeros((0, height, width), bool)
        scale = torch.tensor([size[1] / width, size[0] / height] * 2)
        prompts = (torch.tensor([list(box) for box in boxes], dtype=torch.float32) * scale)[None].to(code)
        several = protocol == "published"
        found = self.model(image_embeddings=code, input_boxes=prompts, multimask_output=several)
        best = found.iou_scores[0].argmax(-1)
        masks = found.pred_masks[0, torch.arange(len(boxes), device=best.device), best].float()
        masks, threshold = (masks.sigmoid(), 0.5) if several else (masks, 0.0)
        canvas = cast(int, cast(SamVisionConfig, self.model.config.vision_config).image_size)
        masks = functional.interpolate(masks[None], (canvas, canvas), mode="bilinear")[..., : size[0], : size[1]]
        return (functional.interpolate(masks, (height, width), mode="bilinear")[0] > threshold).cpu().numpy()


def _cut(box: Box, film: np.ndarray) -> Box:
    height, width = film.shape
    x1, y1, x2, y2 = (int(value) for value in box)
    (x1, x2), (y1, y2) = (
        sorted(min(max(v, 0), most - 1) for v in pair) for pair, most in (((x1, x2), width), ((y1, y2), height))
    )
    return float(x1), float(y1), float(x2), float(y2)
