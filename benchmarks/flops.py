"""What a method costs: its passes through the model, and the FLOPs of each, counted without weights or data.

A pass is run on the meta device, where tensors have shapes only, under torch's counter: two FLOPs a multiplication of
matrices and its sum; attention counts whole, masked or not. Softmax, norms and the like are left out, as is usual, and
so is what a method does with what it read. Which passes a method takes, it declares (`medground.attribution.register`):

- ``forward``: the film and a text with its answer, teacher-forced;
- ``slope``: the same, and back to the pixels (integrated gradients);
- ``states``: and back to the states before the second decoder layer (Grad-CAM);
- ``head``: and back to the last states (Grad-CAM as published);
- ``relevance``: and back to the embeddings, attention held constant (LRP);
- ``attention``: and back to the last layer's attention (gradient-weighted attention).

Writing an answer of n tokens is a forward over the prompt and all of them: the cache makes it so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers.vision_utils import get_vision_cu_seqlens, get_vision_position_ids, get_vision_window_index

from medground.attribution.autograd import Linearised, states
from medground.attribution.method import Method
from medground.errors import MedgroundError

from . import true_sizes

_LAYER = {"relevance": 0, "states": 1, "head": -1}  # where a gradient ends in the decoder, as `gradient.states` counts


def case_flops(method: Method, name: str, prompt: int, answer: int, small: bool = False) -> float:
    """FLOPs of a method on one case, for a model, a prompt and an answer of so many tokens (image tokens included).

    Raises MedgroundError for a method that does not declare its passes.
    """
    if method.passes is None:
        raise MedgroundError(f"method {method.entry} does not declare the passes that a case takes")
    written = method.settings.get("max_new_tokens", 0)
    return sum(
        count * (pass_flops(name, "forward", prompt, written, small) if kind == "generation" else
                 pass_flops(name, kind, prompt, answer, small))
        for kind, count in method.passes.items()
    )  # fmt: skip


@lru_cache
def pass_flops(name: str, kind: str, prompt: int, answer: int, small: bool = False) -> int:
    """FLOPs of one pass of a kind of `PASSES` over a film of `true_sizes.FILM`."""
    lvlm = _on_meta(name, small)
    with torch.enable_grad() if kind != "forward" else torch.no_grad():
        return counted(lambda: _run(lvlm, kind, prompt, answer))


@lru_cache
def vision_flops(name: str, small: bool = False) -> int:
    """FLOPs of the vision tower over a film of `true_sizes.FILM`, with the projection to what the decoder reads."""
    lvlm = _on_meta(name, small)
    with torch.no_grad():
        return counted(lambda: _image_features(lvlm, _canvas(lvlm)))


@lru_cache
def unet_flops(small: bool = False) -> int:
    """FLOPs of one pass of RadEdit's UNet over one latent."""
    config = true_sizes.SMALL_UNET if small else true_sizes.UNET
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config).eval()
        latent = torch.zeros(1, 4, config["sample_size"], config["sample_size"])
        words = torch.zeros(1, 128, config["cross_attention_dim"])
        time = torch.zeros(1)
    with torch.no_grad():
        return counted(lambda: unet(latent, time, encoder_hidden_states=words))


def counted(work: Callable) -> int:
    """The FLOPs that ``work`` takes on any device."""
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _Whole()
    with counter, sdpa_kernel(SDPBackend.MATH):  # others are not counted everywhere
        work()
    return counter.get_total_flops()


def prompt_tokens(name: str, prompt: str, small: bool = False) -> int:
    """Tokens of a prompt about a film of `true_sizes.FILM`, image tokens included."""
    lvlm = _on_meta(name, small)
    rows, columns = lvlm.grid(*true_sizes.FILM[::-1])
    return len(lvlm.prompt_ids(prompt, rows * columns))


class _Whole(nullcontext):
    """In place of torch's tracker of modules, whose hooks do not let a gradient end at a module's input."""

    parents = frozenset({"Global"})


@lru_cache
def _on_meta(name: str, small: bool):
    return true_sizes.lvlm(name, "meta", small)


def _run(lvlm, kind: str, prompt: int, answer: int) -> None:
    canvas = _canvas(lvlm).requires_grad_(kind in ("slope", "attention"))
    image = _image_features(lvlm, canvas)
    words = torch.zeros(1, prompt + answer - image.shape[1], image.shape[2], device="meta", dtype=image.dtype)
    layer = _LAYER.get(kind)
    constant = Linearised() if kind == "relevance" else nullcontext()
    weights = kind == "attention"
    with states(lvlm, layer) if layer is not None else nullcontext([canvas]) as leaf, constant:
        with lvlm.eager() if kind in ("relevance", "attention") else nullcontext():
            logits, attentions = _decode(lvlm, torch.cat([image, words], 1), answer, weights)
        if kind != "forward":
            torch.autograd.grad(logits.float().sum(), attentions[-1] if weights else leaf)


def _canvas(lvlm) -> Tensor:
    height, width = true_sizes.FILM
    box = lvlm.letterbox(width, height)
    return torch.zeros(1, box.height, box.width, device="meta")


def _image_features(lvlm, canvas: Tensor) -> Tensor:
    """What the decoder sees of a film, ``[1, N, D]``. Qwen's windows are laid out off the meta device."""
    pixels, model = lvlm.pixel_inputs(canvas), lvlm.model.model
    if lvlm.family == "gemma3":
        return model.get_image_features(pixels["pixel_values"]).pooler_output
    vision = lvlm.model.config.vision_config
    patch, merge = vision.patch_size, vision.spatial_merge_size
    grid = torch.tensor([[1, canvas.shape[1] // patch, canvas.shape[2] // patch]])
    index, windows = get_vision_window_index(grid, merge, vision.window_size, patch)
    layout = dict(
        position_ids=get_vision_position_ids(grid, merge).to("meta"), cu_seqlens=get_vision_cu_seqlens(grid),
        window_index=index.to("meta"), cu_window_seqlens=windows,
    )  # fmt: skip
    patches = pixels["pixel_values"].to(lvlm.dtype)
    return model.visual(patches, grid_thw=grid, **layout).pooler_output[None]


def _decode(lvlm, embeddings: Tensor, answer: int, weights: bool):
    length = embeddings.shape[1]
    mask = torch.zeros(1, 1, length, length, device="meta", dtype=embeddings.dtype)
    output = lvlm.model.model.language_model(
        inputs_embeds=embeddings, attention_mask={"full_attention": mask, "sliding_attention": mask},
        position_ids=torch.zeros(3, 1, length, device="meta", dtype=torch.long) if lvlm.family != "gemma3" else None,
        use_cache=False, output_attentions=weights,
    )  # fmt: skip
    return lvlm.model.lm_head(output.last_hidden_state[:, -answer - 1 : -1]), output.attentions
