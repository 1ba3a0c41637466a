"""Qwen2.5-VL: the film stretched to a multiple of the patch, a grid that follows its shape."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from ...errors import MedgroundError
from ...geometry import Letterbox
from ..base import LVLM
from ..checkpoints import Published
from ..registry import register_family


@register_family
class Qwen2_5VL(LVLM):
    """Qwen2_5_VLForConditionalGeneration (Bai et al. 2025, https://arxiv.org/abs/2502.13923).

    Image tokens carry 3-D rotary positions; without them the model would silently fall back on 1-D ones.
    """

    family = "qwen2_5_vl"
    model_class = Qwen2_5_VLForConditionalGeneration
    image_processor_class = Qwen2VLImageProcessorPil
    published: ClassVar = {
        "qwen2_5_vl_3b": Published("Qwen/Qwen2.5-VL-3B-Instruct"),
        "qwen2_5_vl_7b": Published("Qwen/Qwen2.5-VL-7B-Instruct"),
    }

    def __init__(self, key, model, tokenizer, image_processor, revision):
        super().__init__(key, model, tokenizer, image_processor, revision)
        self._patch, self._merge = image_processor.patch_size, image_processor.merge_size
        self._frames = image_processor.temporal_patch_size
        self._pixels = image_processor.size["shortest_edge"], image_processor.size["longest_edge"]

    def letterbox(self, width: int, height: int) -> Letterbox:
        fewest, most = self._pixels
        most = max(fewest, min(most, self.most_pixels or most))
        try:
            rows, columns = smart_resize(height, width, self._patch * self._merge, fewest, most)
        except ValueError as error:
            raise MedgroundError(f"{self.key} takes no film of {width} x {height} pixels: {error}") from None
        return Letterbox.stretch(width, height, columns, rows)

    def grid(self, width: int, height: int) -> tuple[int, int]:
        letterbox = self.letterbox(width, height)
        cell = self._patch * self._merge
        return letterbox.height // cell, letterbox.width // cell

    def pixel_inputs(self, canvas: Tensor) -> dict[str, Tensor]:
        films, height, width = canvas.shape
        p, m = self._patch, self._merge
        rows, columns = height // p, width // p
        cells = self.normalised(canvas).view(films, 3, rows // m, m, p, columns // m, m, p)
        cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None]  # a still is the same frame twice
        patches = cells.expand(*cells.shape[:6], self._frames, p, p).reshape(films * rows * columns, -1)
        return {"pixel_values": patches, "image_grid_thw": torch.tensor([[1, rows, columns]] * films).to(canvas.device)}

    def text_inputs(self, input_ids: Tensor, width: int, height: int) -> dict[str, Tensor]:
        rows, columns = self.grid(width, height)
        positions, _ = self.model.model.get_rope_index(
            input_ids,
            mm_token_type_ids=(input_ids == self.image_token_id).int(),
            image_grid_thw=torch.tensor([[1, rows * self._merge, columns * self._merge]], device=input_ids.device),
        )
        return {"position_ids": positions}

    def expand(self, inputs: dict[str, Tensor], films: int) -> dict[str, Tensor]:
        return {name: value.expand(-1, films, -1) for name, value in inputs.items()}

    def generation_inputs(self, is_image: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": is_image.int()}
