"""An open-vocabulary detector (OWL-ViT): where on a film is what a phrase names?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from PIL import Image
from scipy.special import expit
from transformers import AutoTokenizer, OwlViTForObjectDetection, OwlViTTextConfig, PreTrainedTokenizerBase
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil

from ..geometry import Box
from .checkpoint import load_parts

_FILMS = 8  # looked at together


@dataclass(frozen=True)
class Detection:
    """A box that answers to a phrase."""

    phrase: str
    box: Box  # native pixels
    score: float  # 0..1


class Detector:
    """``OwlViTForObjectDetection``. Minderer et al., "Simple open-vocabulary object detection", ECCV 2022."""

    def __init__(
        self, model: OwlViTForObjectDetection, processor: OwlViTImageProcessorPil, tokenizer: PreTrainedTokenizerBase
    ):
        self.model, self.processor, self.tokenizer = model, processor, tokenizer

    @classmethod
    def load(cls, where: str) -> Detector:
        """From a folder or a Hub id (the paper's: ``google/owlvit-base-patch32``)."""
        return cls(*load_parts(where, (OwlViTForObjectDetection, OwlViTImageProcessorPil, AutoTokenizer)))

    @torch.inference_mode()
    def find(
        self, films: Sequence[np.ndarray], phrases: Sequence[Sequence[str]], threshold: float, top: int
    ) -> list[list[Detection]]:
        """For each film (uint8 ``[H, W]``) and each of its phrases the ``top`` best boxes that score above
        ``threshold``, best first within a phrase. A patch speaks for the phrase that fits it best."""
        found: list[list[Detection]] = [[] for _ in films]
        asked = [number for number, some in enumerate(phrases) if some]
        for start in range(0, len(asked), _FILMS):
            numbers = asked[start : start + _FILMS]
            results = self._forward([films[n] for n in numbers], [phrases[n] for n in numbers])
            for number, (logits, boxes) in zip(numbers, results, strict=True):
                found[number] = _best(phrases[number], logits, boxes, threshold, top)
        return found

    def _forward(
        self, films: Sequence[np.ndarray], phrases: Sequence[Sequence[str]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Logits ``[P, Q]`` of every patch for every phrase, and native boxes ``[P, 4]``, film by film."""
        queries = max(map(len, phrases))
        length = cast(OwlViTTextConfig, self.model.config.text_config).max_position_embeddings
        ids = torch.zeros(len(films), queries, length, dtype=torch.long)  # a query of zeros is masked by the model
        attended = torch.zeros_like(ids)
        for row, some in enumerate(phrases):
            words = self.tokenizer(
                list(some), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            )
            ids[row, : len(some)], attended[row, : len(some)] = words.input_ids, words.attention_mask
        pixels = self.processor([Image.fromarray(film) for film in films], return_tensors="pt")["pixel_values"]
        device = self.model.device
        output = self.model(
            input_ids=ids.flatten(0, 1).to(device),
            attention_mask=attended.flatten(0, 1).to(device),
            pixel_values=pixels.to(device, self.model.dtype),
        )
        middle, size = output.pred_boxes.float().cpu().split(2, -1)
        results = []
        for row, film in enumerate(films):
            scale = np.array([film.shape[1], film.shape[0]] * 2)
            corners = torch.cat([middle[row] - size[row] / 2, middle[row] + size[row] / 2], -1).numpy()
            logits = output.logits[row, :, : len(phrases[row])].double().cpu().numpy()
            results.append((logits, np.clip(corners, 0, 1) * scale))
        return results


def _best(phrases: Sequence[str], logits: np.ndarray, boxes: np.ndarray, threshold: float, top: int):
    speaks_for, scores = logits.argmax(1), expit(logits)  # near 1 scores tie where logits do not
    found = []
    for number, phrase in enumerate(phrases):
        mine = np.flatnonzero((speaks_for == number) & (scores[:, number] > threshold))
        best = mine[np.argsort(-logits[mine, number], kind="stable")][:top]
        found += [Detection(phrase, tuple(boxes[n].tolist()), float(scores[n, number])) for n in best]
    return found
