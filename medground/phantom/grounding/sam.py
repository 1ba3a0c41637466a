"""The phantom's segmenter: `SamModel` in small, taught to find what a box means.

It is prompted with jittered boxes of anatomical concepts and of lesions, some of them much too large and off-centre.
Of the three masks that SAM offers the best one learns (Kirillov et al., "Segment anything", ICCV 2023), and the score
of each learns its overlap. Afterwards the single mask learns, the one that MedSAM was trained to give (Ma et al.,
Nature Communications 2024): its own weights alone, so that the three stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import SamConfig, SamModel

from ..loop import adamw, batch, onto_device, run
from .canvas import SEGMENTER_SIDE, segmenter_processor
from .films import MASK, Films
from .motion import exposed, moved, moved_boxes, moves
from .settings import Settings

_WIDTH, _CODE = 96, 64  # channels in the encoder, and of what it tells the decoder
_LOOSE = 0.25  # share of the prompts that are much too large
_SINGLE_STEPS = 600  # of a whole training, for the single mask; fewer where the training is shorter


def build(seed: int) -> SamModel:
    """A new model."""
    torch.manual_seed(seed)
    side = {"image_size": SEGMENTER_SIDE, "patch_size": 16}
    config = SamConfig(
        vision_config={
            **side, "hidden_size": _WIDTH, "output_channels": _CODE, "num_hidden_layers": 4, "num_attention_heads": 4,
            "mlp_dim": 3 * _WIDTH, "window_size": 0, "global_attn_indexes": [0, 1, 2, 3], "use_rel_pos": False,
            "num_pos_feats": _CODE // 2, "initializer_range": 0.06,
        },
        prompt_encoder_config={**side, "hidden_size": _CODE, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": _CODE, "mlp_dim": 2 * _CODE, "num_hidden_layers": 2, "num_attention_heads": 4,
            "iou_head_hidden_dim": _CODE,
        },
        initializer_range=0.06,
    )  # fmt: skip
    model = SamModel(config)
    torch.nn.init.normal_(model.shared_image_embedding.positional_embedding)  # the class starts far too rough
    return model


def train(settings: Settings, seen: Films, unseen: Films, path: Path) -> SamModel:
    """Train a new model on ``seen``, state in ``path``; progress is measured on ``unseen``."""
    s = settings
    model = build(s.seed)
    onto_device(model)
    _prompts_only_boxes(model)

    def stepper(stream: int, loss: Callable[..., Tensor]) -> Callable[[int], Tensor]:
        def step(number: int) -> Tensor:
            rng = np.random.default_rng([s.seed, stream, number])
            picked = batch(len(seen), s.batch, s.seed, number)
            return loss(model, *_examples(seen, picked, s.prompts, rng, moving=True), rng.integers(0, 2, 2))

        return step

    def report() -> str:
        return _report(model, unseen, s)

    def phase(name: str, steps: int, step: Callable[[int], Tensor], state: Path) -> None:
        learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
        run(name, steps, s.save_every, model, adamw([(learnt, 1.0)], s.rate, s.decay), step, report, state)

    phase("phantom-sam", s.steps, stepper(2, _loss), path)
    model.requires_grad_(False)
    model.mask_decoder.output_hypernetworks_mlps[0].requires_grad_()
    single = path.with_suffix(".single.pt")
    phase("phantom-sam, single mask", min(s.steps, _SINGLE_STEPS), stepper(3, _single_loss), single)
    return model.eval()


def jittered(boxes: np.ndarray, rng: np.random.Generator, loose: float = _LOOSE) -> np.ndarray:
    """Prompts for boxes ``[..., 4]``, in the same unit: each side moved by a tenth of the box's size, and some blown
    up to three times the size around another middle."""
    size = np.tile(boxes[..., 2:] - boxes[..., :2], 2)
    rough = boxes + rng.normal(0, 0.1, boxes.shape) * size
    grown = rng.uniform(1.3, 3, (*boxes.shape[:-1], 1)) * size / 2
    middle = (
        np.tile((boxes[..., :2] + boxes[..., 2:]) / 2, 2)
        + np.tile(rng.uniform(-0.35, 0.35, (*boxes.shape[:-1], 2)), 2) * size
    )
    blown = middle + grown * np.array([-1, -1, 1, 1])
    return np.where(rng.random((*boxes.shape[:-1], 1)) < loose, blown, rough)


def _prompts_only_boxes(model: SamModel) -> None:
    """What only prompts by points and masks would train stays as it is, and so do SAM's random Fourier features."""
    prompts = model.prompt_encoder
    fixed = (prompts.mask_embed, prompts.not_a_point_embed, *prompts.point_embed[:2], model.shared_image_embedding)
    for part in fixed:
        part.requires_grad_(False)


def _examples(of: Films, picked: np.ndarray, prompts: int, rng: np.random.Generator, moving: bool) -> tuple:
    """Pixels ``[B, 3, S, S]``, the film's share of the canvas (right, down), prompts ``[B, P, 4]`` in canvas pixels,
    and the masks that they mean ``[B, P, MASK, MASK]``, on the film stretched to a square."""
    how = moves(rng, len(picked)) if moving else np.tile(np.array([1, 0, 0], np.float32), (len(picked), 1))
    films = of.letterboxed[picked]
    film = moved(exposed(films, rng) if moving else torch.from_numpy(films.astype(np.float32) / 255)[:, None], how)
    height, width = films.shape[1:]
    pixels = torch.zeros(len(picked), 1, SEGMENTER_SIDE, SEGMENTER_SIDE)
    pixels[:, :, :height, :width] = 2 * film - 1
    boxes = moved_boxes(of.boxes[picked], how)
    chosen = np.stack([rng.choice(np.flatnonzero(~np.isnan(some[:, 0])), prompts) for some in boxes])
    rows = np.arange(len(picked))[:, None]
    masks = np.unpackbits(of.masks[picked][rows, chosen], axis=-1).reshape(len(picked), prompts, MASK, MASK)
    share = np.array([width, height], np.float32) / SEGMENTER_SIDE
    asked = jittered(boxes[rows, chosen], rng).clip(0, 1) * np.tile(share, 2) * SEGMENTER_SIDE
    return (
        pixels.expand(-1, 3, -1, -1), share, torch.from_numpy(asked.astype(np.float32)),
        (moved(torch.from_numpy(masks.astype(np.float32)), how) > 0.5).float(),
    )  # fmt: skip


def _masks(
    model: SamModel, pixels: Tensor, share: np.ndarray, asked: Tensor, first=None, several: bool = True
) -> tuple[Tensor, Tensor]:
    """Logits of the three masks ``[B, P, 3, MASK, MASK]`` on the film stretched to a square, and their scores.

    With ``first`` (row, column) only every second row and column from there on; not ``several``: the single mask.
    """
    code = model.vision_encoder(pixels.to(model.device)).last_hidden_state
    found = model(image_embeddings=code, input_boxes=asked.to(model.device), multimask_output=several)
    logits = found.pred_masks.flatten(0, 1)
    frame = torch.tensor([[share[0], 0, share[0] - 1], [0, share[1], share[1] - 1]]).expand(len(logits), 2, 3)
    grid = F.affine_grid(frame, [*logits.shape[:2], MASK, MASK], align_corners=False).to(logits)
    grid = grid if first is None else grid[:, first[0] :: 2, first[1] :: 2]
    logits = F.grid_sample(logits, grid, padding_mode="border", align_corners=False)
    return logits.unflatten(0, asked.shape[:2]), found.iou_scores


def _loss(model: SamModel, pixels: Tensor, share: np.ndarray, asked: Tensor, meant: Tensor, first) -> Tensor:
    logits, scores = _masks(model, pixels, share, asked, first)
    meant = _thinned(meant, logits, first)
    best = _misfit(logits, meant).min(-1).values.mean()
    return best + F.mse_loss(scores, overlap(logits.detach() > 0, meant > 0))


def _single_loss(model: SamModel, pixels: Tensor, share: np.ndarray, asked: Tensor, meant: Tensor, first) -> Tensor:
    logits, _ = _masks(model, pixels, share, asked, first, several=False)
    return _misfit(logits, _thinned(meant, logits, first)).mean()


def _thinned(meant: Tensor, logits: Tensor, first) -> Tensor:
    return meant[:, :, None, first[0] :: 2, first[1] :: 2].to(logits).expand_as(logits)


def _misfit(logits: Tensor, meant: Tensor) -> Tensor:
    """How far masks ``[..., h, w]`` are from those that were meant: a Dice loss and a cross entropy ``[...]``."""
    probability = logits.sigmoid()
    common, total = (probability * meant).sum((-2, -1)), (probability + meant).sum((-2, -1))
    dice = 1 - (2 * common + 1) / (total + 1)
    by_pixel = F.binary_cross_entropy_with_logits(logits, meant, reduction="none").mean((-2, -1))
    own = by_pixel / (meant.mean((-2, -1)).sqrt() + 0.02)  # a small mask counts as much as a large one
    return dice + own


def overlap(found: Tensor, meant: Tensor) -> Tensor:
    """IoU of bool masks ``[..., h, w]``."""
    return (found & meant).sum((-2, -1)) / (found | meant).sum((-2, -1)).clamp(min=1)


@torch.inference_mode()
def _report(model: SamModel, unseen: Films, settings: Settings) -> str:
    """Mean IoU with the meant masks: of the single mask, of the one of three that the model believes in, and of the
    best of the three."""
    rng, single, believed, best = np.random.default_rng(0), [], [], []
    for start in range(0, len(unseen), 16):
        picked = np.arange(start, min(start + 16, len(unseen)))
        pixels, share, asked, meant = _examples(unseen, picked, settings.prompts, rng, moving=False)
        logits, scores = _masks(model, pixels, share, asked)
        alone, _ = _masks(model, pixels, share, asked, several=False)
        meant = (meant.to(logits) > 0)[:, :, None]
        single.append(overlap(alone > 0, meant).mean().item())
        fit = overlap(logits > 0, meant.expand(logits.shape))
        believed.append(fit.gather(-1, scores.argmax(-1, keepdim=True)).mean().item())
        best.append(fit.max(-1).values.mean().item())
    return f"mask IoU {np.mean(single):.3f}, of three {np.mean(believed):.3f}, best of them {np.mean(best):.3f}"


def save(model: SamModel, folder: Path) -> None:
    """Write an ordinary Hugging Face checkpoint."""
    model.save_pretrained(folder)
    segmenter_processor().save_pretrained(folder)
