"""Gemma 3 and MedGemma: a square letterboxed canvas, a fixed square grid of image tokens."""

from __future__ import annotations

from math import isqrt
from typing import ClassVar

from torch import Tensor
from transformers import Gemma3ForConditionalGeneration
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from ...geometry import Letterbox
from ..base import LVLM
from ..checkpoints import Published
from ..registry import register_family


@register_family
class Gemma3(LVLM):
    """Gemma3ForConditionalGeneration (Gemma Team 2025, https://arxiv.org/abs/2503.19786).

    The processor would squash a film to a square; the canvas letterboxes it instead, black around, as the paper does.
    Pan-and-scan is off. Image tokens see each other in both directions, which the model only does when it is told
    which tokens these are.
    """

    family = "gemma3"
    model_class = Gemma3ForConditionalGeneration
    image_processor_class = Gemma3ImageProcessorPil
    published: ClassVar = {
        "gemma3_4b": Published("google/gemma-3-4b-it"),
        "gemma3_12b": Published("google/gemma-3-12b-it"),
        "medgemma_4b": Published("google/medgemma-4b-it"),
        "medgemma1_5_4b": Published("google/medgemma-1.5-4b-it"),
    }
    image_sees_itself = True

    def letterbox(self, width: int, height: int) -> Letterbox:
        return Letterbox.fit(width, height, self.model.config.vision_config.image_size)

    def grid(self, width: int, height: int) -> tuple[int, int]:
        side = isqrt(self.model.config.mm_tokens_per_image)
        return side, side

    def chat(self, prompt: str, image_tokens: int) -> str:
        tokenizer = self.tokenizer
        image = f"\n\n{tokenizer.boi_token}{tokenizer.image_token * image_tokens}{tokenizer.eoi_token}\n\n"
        return self.templated(prompt).replace(tokenizer.boi_token, image, 1)

    def text_inputs(self, input_ids: Tensor, width: int, height: int) -> dict[str, Tensor]:
        return self.generation_inputs(input_ids == self.image_token_id)

    def generation_inputs(self, is_image: Tensor) -> dict[str, Tensor]:
        return {"token_type_ids": is_image.long()}
