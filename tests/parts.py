"""Small random checkpoints of the published classes, in folders laid out as on the Hub."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import BertConfig, BertForMaskedLM

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "mass", "abnormality", "effusion", "left"]


def radedit(root: Path) -> dict[str, str]:
    """Where the parts of RadEdit are, by their key in ``edit.radedit``."""
    torch.manual_seed(0)
    UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(32, 32), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=8, norm_num_groups=8,
    ).save_pretrained(root / "radedit" / "unet")  # fmt: skip
    AutoencoderKL(
        in_channels=3, out_channels=3, block_out_channels=(16, 16, 16), latent_channels=4, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, scaling_factor=0.13025,
    ).save_pretrained(root / "vae")  # fmt: skip
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertForMaskedLM(config).save_pretrained(root / "text")  # with a head, like the published text encoder
    description = json.loads((root / "text" / "config.json").read_text()) | {"model_type": "cxr-bert"}
    (root / "text" / "config.json").write_text(json.dumps(description))
    (root / "text" / "vocab.txt").write_text("\n".join(WORDS))
    return {"unet": str(root / "radedit"), "vae": str(root / "vae"), "text_encoder": str(root / "text")}
