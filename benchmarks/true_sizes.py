"""The published architectures at their true sizes, with random weights: their speed and cost need no download.

Numbers are those of the checkpoints' own ``config.json``. The tokenizer is the phantom's: it is smaller than the
published ones, but a question comes out at about as many tokens. MedGemma and MedGemma 1.5 are ``gemma3_4b``.
"""

from __future__ import annotations

import copy

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    BertTokenizerFast,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    OwlViTConfig,
    OwlViTForObjectDetection,
    PreTrainedTokenizerBase,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    SamConfig,
    SamModel,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from medground.editing.radedit import RadEdit
from medground.grounding.detector import Detector
from medground.grounding.segmenter import MedSAM
from medground.lvlm.base import LVLM
from medground.phantom import CONCEPTS
from medground.phantom.lvlms import corpus
from medground.phantom.lvlms.architecture import Parts, build

FILM = 3056, 2544  # height and width of a radiograph, as PhysioNet's are
TEXT = {
    "qwen2_5_vl_3b": dict(
        vocab_size=151936, hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16,
        num_key_value_heads=2,
    ),
    "qwen2_5_vl_7b": dict(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4,
    ),
    "gemma3_4b": dict(
        vocab_size=262208, hidden_size=2560, intermediate_size=10240, num_hidden_layers=34, num_attention_heads=8,
        num_key_value_heads=4,
    ),
    "gemma3_12b": dict(
        vocab_size=262208, hidden_size=3840, intermediate_size=15360, num_hidden_layers=48, num_attention_heads=16,
        num_key_value_heads=8,
    ),
}  # fmt: skip
GEMMA = dict(head_dim=256, query_pre_attn_scalar=256, sliding_window=1024, hidden_activation="gelu_pytorch_tanh")
SIGLIP = dict(
    model_type="siglip_vision_model", image_size=896, patch_size=14, hidden_size=1152, intermediate_size=4304,
    num_hidden_layers=27, num_attention_heads=16, hidden_act="gelu_pytorch_tanh", vision_use_head=False,
)  # fmt: skip
QWEN = dict(rope_parameters={"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]})
QWEN_VISION = dict(
    depth=32, hidden_size=1280, intermediate_size=3420, num_heads=16, patch_size=14, spatial_merge_size=2,
    temporal_patch_size=2, window_size=112, fullatt_block_indexes=[7, 15, 23, 31],
)  # fmt: skip
#: The VAE is stabilityai/sdxl-vae, the text encoder a BERT-base of 128 tokens as BioViL-T is. The UNet of
#: microsoft/radedit is behind a gate: that of Stable Diffusion 1.x is assumed, which fits its latents and that encoder.
UNET = dict(
    sample_size=64, in_channels=4, out_channels=4, layers_per_block=2, block_out_channels=(320, 640, 1280, 1280),
    cross_attention_dim=768, attention_head_dim=8,
)  # fmt: skip
VAE = dict(
    in_channels=3, out_channels=3, latent_channels=4, layers_per_block=2, block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.13025,
)  # fmt: skip
BERT = dict(vocab_size=30522)
SMALL_UNET = UNET | dict(sample_size=16, layers_per_block=1, block_out_channels=(32,) * 4, cross_attention_dim=32)
SMALL_VAE = VAE | dict(layers_per_block=1, block_out_channels=(32,) * 4)
SMALL_BERT = BERT | dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)

_TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL_OWL = dict(
    text_config={**_TINY, "vocab_size": 1000, "bos_token_id": 1, "eos_token_id": 2},
    vision_config={**_TINY, "image_size": 48, "patch_size": 8},
    projection_dim=32,
)  # fmt: skip
SMALL_SAM = dict(
    vision_config={
        "hidden_size": 32, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 64,
        "image_size": 64, "patch_size": 8, "window_size": 4, "global_attn_indexes": [0], "num_pos_feats": 8,
    },
    prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
    mask_decoder_config={"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
)  # fmt: skip


#: `canvas.most_pixels` of profiles/paper.yaml.
MOST_PIXELS = 512 * 512


def family(name: str) -> str:
    return "gemma3" if name.startswith("gemma3") else "qwen2_5_vl"


def lvlm(name: str, device: str, small: bool = False) -> LVLM:
    """The model of that name in bfloat16, or ``small``, of a million parameters in float32; ``meta`` is a device."""
    parts = build(family(name), corpus.sentences(list(CONCEPTS)), seed=1)
    if not small:
        parts = _gemma(name, parts, device) if family(name) == "gemma3" else _qwen(name, parts, device)
    parts.model.to(device)
    adapter = parts.adapter(name)
    adapter.most_pixels = MOST_PIXELS
    return adapter


def radedit(device: str, small: bool = False, **settings) -> RadEdit:
    """RadEdit's parts with random weights; ``settings`` as of `RadEdit`."""
    unet, vae, bert = (SMALL_UNET, SMALL_VAE, SMALL_BERT) if small else (UNET, VAE, BERT)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "abnormality"]
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)})
    with torch.device(device):
        parts = UNet2DConditionModel(**unet), AutoencoderKL(**vae), BertModel(BertConfig(**bert))
    return RadEdit(*parts, tokenizer, device=device, size=128 if small else 512, **settings)


def segmenters(tokenizer: PreTrainedTokenizerBase, device: str, small: bool = False) -> tuple[Detector, MedSAM]:
    """OWL-ViT base-patch32 and SAM ViT-base, whose sizes are the defaults of their classes; words by ``tokenizer``."""
    owl, sam, side, whole = OwlViTConfig(), SamConfig(), 768, 1024
    if small:
        owl, sam, side, whole = OwlViTConfig(**SMALL_OWL), SamConfig(**SMALL_SAM), 48, 64
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.padding_side = "right"  # a phrase that starts with padding is no phrase to OWL-ViT
    with torch.device(device):
        models = OwlViTForObjectDetection(owl).eval(), SamModel(sam).eval()
    return (
        Detector(models[0], OwlViTImageProcessorPil(size={"height": side, "width": side}), tokenizer),
        MedSAM(
            models[1],
            SamImageProcessorPil(size={"longest_edge": whole}, pad_size={"height": whole, "width": whole}),
        ),
    )


def _gemma(name: str, small: Parts, device: str) -> Parts:
    config: Gemma3Config = copy.deepcopy(small.model.config)
    text = {key: getattr(config.text_config, key) for key in ("pad_token_id", "bos_token_id", "eos_token_id")}
    tokens = {key: getattr(config, key) for key in ("image_token_index", "boi_token_index", "eoi_token_index")}
    true = Gemma3Config(
        text_config={**TEXT[name], **GEMMA, **text}, vision_config=SIGLIP, mm_tokens_per_image=256, **tokens
    )
    with torch.device(device):
        model = Gemma3ForConditionalGeneration._from_config(true, dtype=torch.bfloat16)
        projection = model.model.multi_modal_projector.mm_input_projection_weight
        nn.init.normal_(projection, std=projection.shape[0] ** -0.5)  # the class leaves it at zero
    model.generation_config = small.model.generation_config
    side = SIGLIP["image_size"]
    processor = Gemma3ImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_pan_and_scan=False
    )
    return Parts(model, small.tokenizer, processor)


def _qwen(name: str, small: Parts, device: str) -> Parts:
    config: Qwen2_5_VLConfig = copy.deepcopy(small.model.config)
    text = {key: getattr(config.text_config, key) for key in ("pad_token_id", "bos_token_id", "eos_token_id")}
    tokens = {
        key: getattr(config, key)
        for key in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    }
    true = Qwen2_5_VLConfig(
        text_config={**TEXT[name], **QWEN, **text},
        vision_config={**QWEN_VISION, "out_hidden_size": TEXT[name]["hidden_size"]},
        tie_word_embeddings=name == "qwen2_5_vl_3b", **tokens,
    )  # fmt: skip
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(true, dtype=torch.bfloat16)
    model.generation_config = small.model.generation_config
    processor = Qwen2VLImageProcessorPil(
        patch_size=14, merge_size=2, temporal_patch_size=2, image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711], size={"shortest_edge": 56 * 56, "longest_edge": 12845056},
    )  # fmt: skip
    return Parts(model, small.tokenizer, processor)
