"""Several questions about one film behind one shared image prefix.

A film's tokens are the same for every question about it, and most of the work. Packed, they pass the language model
once: each question sees the prefix and itself, and its positions go on where the prefix ends. The logits equal those
of the plain forward pass, question by question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...lvlm.base import LVLM


@dataclass(frozen=True)
class Pack:
    """One sequence per film: the prefix, then a segment per question; segments are as long as their longest answer."""

    input_ids: Tensor  # [B, L]
    mask: Tensor  # [1, 1, L, L] float, 0 where attention is allowed, -inf elsewhere
    positions: Tensor  # [1, L], or [3, 1, L] for Qwen2.5-VL
    rows: Tensor  # [R] positions whose logits predict an answer token
    labels: Tensor  # [B, R] the tokens to predict, -100 where the answer is over
    questions: Tensor  # [R] which question a row belongs to


class Packer:
    """Packs questions about films of one native size for one model."""

    def __init__(self, lvlm: LVLM, width: int, height: int):
        self.lvlm, self.size = lvlm, (width, height)
        text = lvlm.text("", None, width, height)
        self.image = text.image
        self.prefix = text.input_ids[0, : int(text.image[-1]) + 2].tolist()  # up to the token that ends the image
        self.end = lvlm.model.generation_config.eos_token_id

    def pack(self, prompts: Sequence[str], answers: Sequence[Sequence[str]]) -> Pack:
        """Pack ``prompts``, the same for every film, with ``answers[film][question]``."""
        device, start = self.lvlm.device, len(self.prefix)
        asked = [self._asked(prompt) for prompt in prompts]
        said = [[self._said(answer) for answer in film] for film in answers]
        longest = [max(len(film[q]) for film in said) for q in range(len(prompts))]
        pad = self.lvlm.tokenizer.pad_token_id

        input_ids, labels = [], []
        for film in said:
            tokens, targets = list(self.prefix), []
            for q, question in enumerate(asked):
                room = longest[q] - len(film[q])
                tokens += [*question, *film[q][:-1], *[pad] * room]  # nothing follows the last token of an answer
                targets += [*film[q], *[-100] * room]
            input_ids.append(tokens)
            labels.append(targets)
        lengths = [len(question) + longest[q] - 1 for q, question in enumerate(asked)]
        starts = [start + sum(lengths[:q]) for q in range(len(asked))]
        rows = [starts[q] + len(asked[q]) - 1 + t for q in range(len(asked)) for t in range(longest[q])]
        return Pack(
            torch.tensor(input_ids, device=device),
            self._mask(lengths),
            self._positions(lengths),
            torch.tensor(rows, device=device),
            torch.tensor(labels, device=device),
            torch.tensor([q for q in range(len(asked)) for _ in range(longest[q])], device=device),
        )

    def logits(self, pack: Pack, features: Tensor) -> Tensor:
        """Logits ``[B, R, V]`` at the pack's rows, for image features ``[B, N, d]`` of its films."""
        model = self.lvlm.model
        embedded = model.get_input_embeddings()(pack.input_ids)
        first, last = int(self.image[0]), int(self.image[-1])
        embedded = torch.cat([embedded[:, :first], features, embedded[:, last + 1 :]], 1)
        hidden = model.model.language_model(
            inputs_embeds=embedded,
            attention_mask={"full_attention": pack.mask, "sliding_attention": pack.mask},
            position_ids=pack.positions.expand(*pack.positions.shape[:-2], len(embedded), -1),
            use_cache=False,
        ).last_hidden_state
        return model.lm_head(hidden[:, pack.rows])

    def _asked(self, prompt: str) -> list[int]:
        return self.lvlm.text(prompt, None, *self.size).input_ids[0, len(self.prefix) :].tolist()

    def _said(self, answer: str) -> list[int]:
        return [*self.lvlm.tokenizer(answer, add_special_tokens=False).input_ids, self.end]

    def _mask(self, lengths: list[int]) -> Tensor:
        total, start = len(self.prefix) + sum(lengths), len(self.prefix)
        allowed = torch.zeros(total, total, dtype=torch.bool)
        allowed[:, :start] = True
        allowed[:start, :start] = torch.ones(start, start).tril().bool()
        if self.lvlm.image_sees_itself:
            image = slice(int(self.image[0]), int(self.image[-1]) + 1)
            allowed[image, image] = True
        for length in lengths:
            own = slice(start, start + length)
            allowed[own, own] = torch.ones(length, length).tril().bool()
            start += length
        mask = torch.zeros(1, 1, total, total).masked_fill_(~allowed, float("-inf"))
        return mask.to(self.lvlm.device)

    def _positions(self, lengths: list[int]) -> Tensor:
        start = len(self.prefix)
        plain = torch.tensor([self.prefix + [self.end] * max(lengths)], device=self.lvlm.device)
        positions = self.lvlm.text_inputs(plain, *self.size).get("position_ids")
        if positions is None:
            positions = torch.arange(plain.shape[1], device=self.lvlm.device)[None]
        return torch.cat([positions[..., :start], *(positions[..., start : start + n] for n in lengths)], -1)
