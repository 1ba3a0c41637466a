"""Which models there are, and how to load one by key, Hub id or path."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import AutoTokenizer, Gemma3ForConditionalGeneration, Qwen2_5_VLForConditionalGeneration
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from ..errors import MedgroundError
from . import checkpoints
from .base import LVLM
from .gemma3 import Gemma3
from .qwen2_5_vl import Qwen2_5VL

FAMILIES = {
    "gemma3": (Gemma3, Gemma3ForConditionalGeneration, Gemma3ImageProcessorPil),
    "qwen2_5_vl": (Qwen2_5VL, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil),
}
#: Qwen2.5-VL takes films of any size; its canvas is kept within what the editor draws, 512 x 512, so that an edited
#: film is not told from the original by its sharpness.
MOST_PIXELS = 512 * 512


def load_lvlm(key_or_path: str | Path, device: str | None = None, revision: str | None = None) -> LVLM:
    """Load a vision-language model by registry key, folder of ``models/``, path, or Hub id (``owner/name``).

    ``device`` defaults to CUDA where there is one. ``revision`` overrides the registry's; the commit that it led to,
    or for a local checkpoint the digest of its weights, is in ``LVLM.revision``. Weights keep the type that they were
    saved in, except that the published six are loaded in bfloat16.

    Raises MedgroundError, with the remedy, for an unknown key or path, a checkpoint of an unsupported family, and a
    repository that is gated or out of reach.
    """
    where, key, published = checkpoints.locate(str(key_or_path))
    revision = revision or (published.revision if published else "main")
    config_file = checkpoints.fetch(where, "config.json", revision)
    kind = json.loads(Path(config_file).read_text()).get("model_type")
    if kind not in FAMILIES:
        raise MedgroundError(
            f"{where} is a checkpoint of the family {kind!r}; supported: {', '.join(FAMILIES)}. "
            "A new family needs an adapter in medground/lvlm/"
        )
    adapter, model_class, processor_class = FAMILIES[kind]
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = model_class.from_pretrained(
            where, revision=revision, dtype=torch.bfloat16 if published else "auto", attn_implementation="sdpa"
        ).to(device)
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision)
        processor = processor_class.from_pretrained(where, revision=revision)
    except (OSError, ValueError) as error:
        raise MedgroundError(
            f"{where} cannot be loaded: {checkpoints.first_line(error)}; {checkpoints.remedy(where)}"
        ) from error
    if kind == "qwen2_5_vl" and processor.size["longest_edge"] > MOST_PIXELS:
        processor.size["longest_edge"] = MOST_PIXELS
    commit = getattr(model.config, "_commit_hash", None) or checkpoints.digest(Path(where))
    return adapter(key, model, tokenizer, processor, commit)
