"""LLaVA 1.5: a square letterboxed canvas, one image token for each patch of the vision tower."""

from __future__ import annotations

from typing import ClassVar

from medground.geometry import Letterbox
from medground.lvlm import LVLM, Published, register_family


@register_family
class Llava(LVLM):
    """LlavaForConditionalGeneration (Liu et al. 2023, https://arxiv.org/abs/2310.03744)."""

    family = "llava"
    published: ClassVar = {"llava1_5_7b": Published("llava-hf/llava-1.5-7b-hf")}

    def letterbox(self, width: int, height: int) -> Letterbox:
        return Letterbox.fit(width, height, self.model.config.vision_config.image_size)

    def grid(self, width: int, height: int) -> tuple[int, int]:
        vision = self.model.config.vision_config
        side = vision.image_size // vision.patch_size
        return side, side
