"""The phantom models before training: real classes, small sizes, a byte-level tokenizer of their own.

About a million parameters each, so that a checkpoint is a few megabytes and a forward pass a few milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ...lvlm.base import LVLM
from ...lvlm.families.gemma3 import Gemma3
from ...lvlm.families.qwen2_5_vl import Qwen2_5VL

VOCABULARY = 700
GEMMA_SIDE = 120  # of the canvas, pixels
TEXT = dict(
    hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=2048, initializer_range=0.06,
)  # fmt: skip
GEMMA_TOKENS = {
    "pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>", "start": "<start_of_turn>",
    "end": "<end_of_turn>",
}  # fmt: skip
QWEN_TOKENS = {
    "pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", "start": "<|im_start|>",
    "vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>", "image": "<|image_pad|>",
    "video": "<|video_pad|>",
}  # fmt: skip
# Chat templates: one image and one text a turn, the image where the message puts it.
_CONTENT = (
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
)
GEMMA_CHAT = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    + _CONTENT.replace("IMAGE", "<start_of_image>")
    + "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
QWEN_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    + _CONTENT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    + "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Parts:
    """A model with what turns films and words into its inputs."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    image_processor: Gemma3ImageProcessorPil | Qwen2VLImageProcessorPil

    def save(self, folder: Path) -> None:
        """Write an ordinary Hugging Face checkpoint: weights, configs, tokenizer, chat template, processor."""
        self.model.save_pretrained(folder)
        if isinstance(self.image_processor, Gemma3ImageProcessorPil):
            tokens = self.model.config.mm_tokens_per_image
            chat = self.tokenizer.chat_template
            Gemma3Processor(self.image_processor, self.tokenizer, chat, image_seq_length=tokens).save_pretrained(folder)
        self.image_processor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def adapter(self, key: str) -> LVLM:
        """The adapter around this very model (not a copy)."""
        family = Gemma3 if isinstance(self.image_processor, Gemma3ImageProcessorPil) else Qwen2_5VL
        return family(key, self.model, self.tokenizer, self.image_processor, "training")


def build(family: str, sentences: list[str], seed: int) -> Parts:
    """A new model of ``family`` (``gemma3`` or ``qwen2_5_vl``) with a tokenizer trained on ``sentences``."""
    torch.manual_seed(seed)
    return {"gemma3": _gemma3, "qwen2_5_vl": _qwen2_5_vl}[family](sentences)


def _gemma3(sentences: list[str]) -> Parts:
    tokenizer = _tokenizer(sentences, GEMMA_TOKENS, ("boi_token", "eoi_token", "image_token"), GEMMA_CHAT)
    token = partial(_token, tokenizer)
    config = Gemma3Config(
        text_config={
            **TEXT, "vocab_size": len(tokenizer), "head_dim": 32, "query_pre_attn_scalar": 32,
            "hidden_activation": "gelu", "sliding_window": 512,
            "layer_types": ["sliding_attention", "full_attention"], "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id, "eos_token_id": token("<end_of_turn>"),
        },
        vision_config={
            "model_type": "siglip_vision_model", "image_size": GEMMA_SIDE, "patch_size": 12, "hidden_size": 128,
            "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4, "hidden_act": "gelu",
            "vision_use_head": False,
        },
        mm_tokens_per_image=100, image_token_index=token("<image_soft_token>"),
        boi_token_index=token("<start_of_image>"), eoi_token_index=token("<end_of_image>"),
    )  # fmt: skip
    model = Gemma3ForConditionalGeneration(config)
    projection = model.model.multi_modal_projector.mm_input_projection_weight
    nn.init.normal_(projection, std=projection.shape[0] ** -0.5)  # the class leaves it at zero: nothing would be seen
    model.generation_config = _generation(tokenizer, token("<end_of_turn>"))
    square = {"height": GEMMA_SIDE, "width": GEMMA_SIDE}
    processor = Gemma3ImageProcessorPil(size=square, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_pan_and_scan=False)
    return Parts(model, tokenizer, processor)


def _qwen2_5_vl(sentences: list[str]) -> Parts:
    tokenizer = _tokenizer(sentences, QWEN_TOKENS, (), QWEN_CHAT)
    token = partial(_token, tokenizer)
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        },
        vision_config={
            "depth": 4, "hidden_size": 64, "intermediate_size": 192, "num_heads": 2, "patch_size": 8,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 64, "fullatt_block_indexes": [1, 3],
            "out_hidden_size": TEXT["hidden_size"], "initializer_range": 0.06,
        },
        image_token_id=token("<|image_pad|>"), video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"), vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = _generation(tokenizer, tokenizer.eos_token_id)
    processor = Qwen2VLImageProcessorPil(
        patch_size=8, merge_size=2, temporal_patch_size=2, image_mean=[0.5] * 3, image_std=[0.5] * 3,
        size={"shortest_edge": 4096, "longest_edge": 15000},  # a film of 352 x 416 becomes 112 x 128: 7 x 8 tokens
    )  # fmt: skip
    return Parts(model, tokenizer, processor)


def _tokenizer(
    sentences: list[str], special: dict[str, str], named: tuple[str, ...], chat: str
) -> PreTrainedTokenizerFast:
    """Byte-level BPE that can encode any text, and has the corpus's words as single tokens where it can."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(special.values()), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    bpe.train_from_iterator(sentences, trainer)
    roles = {name: special[name] for name in ("pad_token", "eos_token", "bos_token") if name in special}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, **roles, extra_special_tokens={name: special[name] for name in named},
        chat_template=chat, padding_side="left", clean_up_tokenization_spaces=False, model_max_length=2048,
    )  # fmt: skip


def _token(tokenizer: PreTrainedTokenizerFast, text: str) -> int:
    return int(tokenizer.convert_tokens_to_ids(text))  # type: ignore[arg-type]


def _generation(tokenizer: PreTrainedTokenizerFast, end: int) -> GenerationConfig:
    return GenerationConfig(do_sample=False, pad_token_id=tokenizer.pad_token_id, eos_token_id=end)
