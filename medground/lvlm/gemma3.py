"""Gemma 3 and MedGemma: a square letterboxed canvas, a fixed square grid of image tokens."""

from __future__ import annotations

from math import isqrt

from torch import Tensor

from ..geometry import Letterbox
from .base import LVLM


class Gemma3(LVLM):
    """Gemma3ForConditionalGeneration (Gemma Team 2025, https://arxiv.org/abs/2503.19786).

    The processor would squash a film to a square; the canvas letterboxes it instead, black around, as the paper does.
    Pan-and-scan is off. Image tokens see each other in both directions, which the model only does when it is told
    which tokens these are.
    """

    family = "gemma3"
    image_sees_itself = True

    def letterbox(self, width: int, height: int) -> Letterbox:
        return Letterbox.fit(width, height, self.model.config.vision_config.image_size)

    def grid(self, width: int, height: int) -> tuple[int, int]:
        side = isqrt(self.model.config.mm_tokens_per_image)
        return side, side

    def pixel_inputs(self, canvas: Tensor) -> dict[str, Tensor]:
        return {"pixel_values": self._normalised(canvas)}

    def _chat(self, prompt: str, image_tokens: int) -> str:
        tokenizer = self.tokenizer
        image = f"\n\n{tokenizer.boi_token}{tokenizer.image_token * image_tokens}{tokenizer.eoi_token}\n\n"
        return self._formatted(prompt).replace(tokenizer.boi_token, image, 1)

    def text_inputs(self, input_ids: Tensor, width: int, height: int) -> dict[str, Tensor]:
        return self._generation_inputs(input_ids == self.model.config.image_token_id)

    def _expand(self, inputs: dict[str, Tensor], films: int) -> dict[str, Tensor]:
        return {name: value.expand(films, -1) for name, value in inputs.items()}

    def _generation_inputs(self, is_image: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": is_image.long()}
