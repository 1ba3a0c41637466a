"""The phantom's detector: `OwlViTForObjectDetection` in small, taught which words name what.

Trained like DETR (Carion et al., ECCV 2020) and OWL-ViT: every thing on a film is matched to one patch, whose box
learns its place, and whose embedding learns to be near the phrases that name it and far from all others.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn
from transformers import OwlViTConfig, OwlViTForObjectDetection, PreTrainedTokenizerFast

from ..loop import adamw, batch, onto_device, run
from .canvas import DETECTOR_SIDE, detector_processor
from .films import THINGS, Films
from .motion import exposed, moved, moved_boxes, moves
from .settings import Settings

# What else a thing is called, and the pairs of which the hull is meant.
ALSO = {
    "cardiac silhouette": ("heart",),
    "left hilar structures": ("left hilum",),
    "right hilar structures": ("right hilum",),
}
PAIRS = {
    "both lungs": ("left lung", "right lung"),
    "both clavicles": ("left clavicle", "right clavicle"),
    "both hila": ("left hilar structures", "right hilar structures"),
    "both costophrenic angles": ("left costophrenic angle", "right costophrenic angle"),
}
# Phrases that name nothing here, so that not every word finds something.
ELSEWHERE = (
    "left shoulder", "right shoulder", "stomach", "liver", "spleen", "trachea", "spine", "left breast", "right breast",
    "pacemaker", "tube", "catheter", "neck", "left arm", "right arm", "abdomen", "kidney", "nothing",
)  # fmt: skip
TARGETS = (*THINGS, *PAIRS)
PHRASES = (*TARGETS, *(name for names in ALSO.values() for name in names), *ELSEWHERE)

_WIDTH, _WORDS, _LONGEST = 96, 64, 16  # channels of the image and of the text tower; tokens of a phrase
_ALPHA, _GAMMA = 0.4, 2.0  # of the focal loss


def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE that can encode any phrase, and has the words of `PHRASES` as single tokens."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<pad>", "<bos>"], show_progress=False, min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    bpe.train_from_iterator(PHRASES, trainer)
    bpe.add_special_tokens(["<eos>"])  # last, because the model reads a phrase at its greatest token
    begin, end = (bpe.token_to_id(token) for token in ("<bos>", "<eos>"))
    bpe.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=[("<bos>", begin), ("<eos>", end)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", model_max_length=_LONGEST
    )


def build(seed: int) -> OwlViTForObjectDetection:
    """A new model."""
    torch.manual_seed(seed)
    words = tokenizer()
    config = OwlViTConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": _WORDS, "intermediate_size": 2 * _WORDS, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": _LONGEST, "pad_token_id": words.pad_token_id,
            "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id,
        },
        vision_config={
            "hidden_size": _WIDTH, "intermediate_size": 3 * _WIDTH, "num_hidden_layers": 4, "num_attention_heads": 4,
            "image_size": DETECTOR_SIDE, "patch_size": 16, "initializer_range": 0.06,
        },
        projection_dim=_WORDS,
    )  # fmt: skip
    model = OwlViTForObjectDetection(config)
    nn.init.normal_(model.owlvit.text_model.embeddings.token_embedding.weight, std=0.2)  # words start well apart
    classes, boxes = model.class_head, model.box_head
    for layer in (classes.dense0, boxes.dense0, boxes.dense1):  # the class leaves the heads far too rough
        nn.init.normal_(layer.weight, std=_WIDTH**-0.5)
    for layer in (classes.logit_scale, classes.logit_shift, boxes.dense2):
        nn.init.normal_(layer.weight, std=0.01)
    nn.init.constant_(classes.logit_scale.bias, 9.0)  # logits from -15 to 5: at first no patch shows anything
    nn.init.constant_(classes.logit_shift.bias, -0.5)
    return model


def train(settings: Settings, seen: Films, unseen: Films, path: Path) -> OwlViTForObjectDetection:
    """Train a new model on ``seen``, state in ``path``; progress is measured on ``unseen``."""
    s = settings
    model = build(s.seed)
    onto_device(model)
    for unused in (model.owlvit.visual_projection, model.owlvit.logit_scale):
        unused.requires_grad_(False)
    asked = _asked()

    def step(number: int) -> Tensor:
        rng = np.random.default_rng([s.seed, 3, number])
        picked = batch(len(seen), s.batch, s.seed, number)
        pixels, boxes = _examples(seen, picked, rng, moving=True)
        return _loss(*_forward(model, pixels, asked), boxes)

    def report() -> str:
        return _report(model, unseen, asked)

    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = adamw([(learnt, 1.0)], s.rate, s.decay)
    run("phantom-owlvit", s.steps, s.save_every, model, optimizer, step, report, path)
    return model.eval()


def named() -> np.ndarray:
    """Which phrase names which target: bool ``[targets, phrases]``."""
    also = {name: thing for thing, names in ALSO.items() for name in names}
    return np.array([[also.get(phrase, phrase) == target for phrase in PHRASES] for target in TARGETS])


def with_pairs(boxes: np.ndarray) -> np.ndarray:
    """Boxes of all targets ``[B, targets, 4]`` from those of the things; NaN where one of a pair is."""
    pairs = [[boxes[:, THINGS.index(name)] for name in names] for names in PAIRS.values()]
    hulls = [np.concatenate([np.minimum(a, b)[:, :2], np.maximum(a, b)[:, 2:]], -1) for a, b in pairs]
    return np.concatenate([boxes, np.stack(hulls, 1)], 1)


def _asked() -> dict[str, Tensor]:
    words = tokenizer()(list(PHRASES), padding="max_length", truncation=True, max_length=_LONGEST, return_tensors="pt")
    return {"input_ids": words.input_ids, "attention_mask": words.attention_mask}


def _examples(of: Films, picked: np.ndarray, rng: np.random.Generator, moving: bool) -> tuple[Tensor, np.ndarray]:
    """Pixels ``[B, 3, S, S]`` and boxes of the targets ``[B, targets, 4]``, corners in shares of the film."""
    films = of.stretched[picked]
    how = moves(rng, len(picked)) if moving else np.tile(np.array([1, 0, 0], np.float32), (len(picked), 1))
    film = moved(exposed(films, rng) if moving else torch.from_numpy(films.astype(np.float32) / 255)[:, None], how)
    return (2 * film - 1).expand(-1, 3, -1, -1), with_pairs(moved_boxes(of.boxes[picked], how))


def _forward(model: OwlViTForObjectDetection, pixels: Tensor, asked: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits ``[B, patches, phrases]`` and boxes ``[B, patches, 4]``, corners; every phrase is read once."""
    text = model.owlvit.get_text_features(**{k: v.to(model.device) for k, v in asked.items()}).pooler_output
    features = model.image_embedder(pixels.to(model.device))[0]
    flat = features.flatten(1, 2)
    logits = model.class_predictor(flat, text.expand(len(flat), -1, -1))[0]
    boxes = model.box_predictor(flat, features)
    middle, size = boxes[..., :2], boxes[..., 2:]
    return logits, torch.cat([middle - size / 2, middle + size / 2], -1)


def _loss(logits: Tensor, boxes: Tensor, true: np.ndarray) -> Tensor:
    names = torch.from_numpy(named()).to(logits)
    wanted = torch.zeros_like(logits)
    pairs: list[tuple[Tensor, Tensor]] = []  # boxes that were found and those that were meant
    for film, some in enumerate(true):
        there = np.flatnonzero(~np.isnan(some[:, 0]))
        target = torch.from_numpy(some[there]).to(boxes)
        with torch.no_grad():
            said = torch.stack([logits[film][:, names[k] > 0].mean(-1) for k in there], -1).sigmoid()
            near = (boxes[film][:, None] - target).abs().sum(-1)
            cost = -2 * said + 5 * near - 2 * generalized_iou(boxes[film][:, None], target)
        patch, row = linear_sum_assignment(cost.cpu().numpy())
        wanted[film, patch] = names[there[row]]
        pairs.append((boxes[film, patch], target[row]))
    found, meant = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    placed = 5 * (found - meant).abs().sum(-1) + 2 * (1 - generalized_iou(found, meant))
    return _focal(logits, wanted) / wanted.sum() * 2 + placed.mean()


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    missed = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    wrong = (logits.sigmoid() - wanted).abs() ** _GAMMA
    return ((_ALPHA * wanted + (1 - _ALPHA) * (1 - wanted)) * wrong * missed).sum()


def generalized_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalized IoU of boxes ``[..., 4]``, -1 to 1 (Rezatofighi et al., CVPR 2019)."""
    common = (torch.minimum(a, b)[..., 2:] - torch.maximum(a, b)[..., :2]).clamp(min=0).prod(-1)
    around = (torch.maximum(a, b)[..., 2:] - torch.minimum(a, b)[..., :2]).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - common
    return common / union.clamp(min=1e-9) - (around - union) / around.clamp(min=1e-9)


@torch.inference_mode()
def _report(model: OwlViTForObjectDetection, unseen: Films, asked: dict[str, Tensor]) -> str:
    """Mean IoU of the best-scoring patch's box with the truth, and how sure it is where the target is and is not."""
    names, fits = named(), []
    there: list[float] = []
    elsewhere: list[float] = []
    for start in range(0, len(unseen), 16):
        picked = np.arange(start, min(start + 16, len(unseen)))
        pixels, true = _examples(unseen, picked, np.random.default_rng(0), moving=False)
        logits, boxes = (output.cpu() for output in _forward(model, pixels, asked))
        score, patch = logits.sigmoid().max(1)
        for film, some in enumerate(true):
            for k, box in enumerate(some):
                phrase = int(names[k].argmax())
                (elsewhere if np.isnan(box[0]) else there).append(score[film, phrase].item())
                if not np.isnan(box[0]):
                    found = boxes[film, patch[film, phrase]].numpy()
                    fits.append(_iou(found, box))
    return f"box IoU {np.mean(fits):.3f}, score {np.mean(there):.2f} where it is, {np.mean(elsewhere):.2f} where not"


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    common = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))


def save(model: OwlViTForObjectDetection, folder: Path) -> None:
    """Write an ordinary Hugging Face checkpoint."""
    model.save_pretrained(folder)
    detector_processor().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
