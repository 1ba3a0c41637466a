"""Qwen2.5-VL: the film stretched to a multiple of the patch, a grid that follows its shape."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from ..geometry import Letterbox
from .base import LVLM


class Qwen2_5VL(LVLM):
    """Qwen2_5_VLForConditionalGeneration (Bai et al. 2025, https://arxiv.org/abs/2502.13923).

    Image tokens carry 3-D rotary positions; without them the model would silently fall back on 1-D ones.
    """

    family = "qwen2_5_vl"

    def __init__(self, key, model, tokenizer, image_processor, revision):
        super().__init__(key, model, tokenizer, image_processor, revision)
        self._patch, self._merge = image_processor.patch_size, image_processor.merge_size
        self._frames = image_processor.temporal_patch_size
        self._pixels = image_processor.size["shortest_edge"], image_processor.size["longest_edge"]

    def letterbox(self, width: int, height: int) -> Letterbox:
        fewest, most = self._pixels
        rows, columns = smart_resize(height, width, self._patch * self._merge, fewest, most)
        return Letterbox.stretch(width, height, columns, rows)

    def grid(self, width: int, height: int) -> tuple[int, int]:
        letterbox = self.letterbox(width, height)
        cell = self._patch * self._merge
        return letterbox.height // cell, letterbox.width // cell

    def pixel_inputs(self, canvas: Tensor) -> dict[str, Tensor]:
        films, height, width = canvas.shape
        p, m = self._patch, self._merge
        rows, columns = height // p, width // p
        cells = self._normalised(canvas).view(films, 3, rows // m, m, p, columns // m, m, p)
        cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None]  # a still is the same frame twice
        patches = cells.expand(*cells.shape[:6], self._frames, p, p).reshape(films * rows * columns, -1)
        return {"pixel_values": patches, "image_grid_thw": torch.tensor([[1, rows, columns]] * films).to(canvas.device)}

    def _chat(self, prompt: str, image_tokens: int) -> str:
        pad = self.tokenizer.convert_ids_to_tokens(self.model.config.image_token_id)
        return self._formatted(prompt).replace(pad, pad * image_tokens, 1)

    def text_inputs(self, input_ids: Tensor, width: int, height: int) -> dict[str, Tensor]:
        rows, columns = self.grid(width, height)
        positions, _ = self.model.model.get_rope_index(
            input_ids,
            mm_token_type_ids=(input_ids == self.model.config.image_token_id).int(),
            image_grid_thw=torch.tensor([[1, rows * self._merge, columns * self._merge]], device=input_ids.device),
        )
        return {"position_ids": positions}

    def _expand(self, inputs: dict[str, Tensor], films: int) -> dict[str, Tensor]:
        return {name: value.expand(-1, films, -1) for name, value in inputs.items()}

    def _generation_inputs(self, is_image: Tensor) -> dict[str, Tensor]:
        return {"mm_token_type_ids": is_image.int()}
