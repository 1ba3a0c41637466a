"""Which models there are, and how to load one by key, Hub id or path."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, Gemma3ForConditionalGeneration, Qwen2_5_VLForConditionalGeneration
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils import cached_file

from ..errors import MedgroundError
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
LOCAL = Path("models")  # folders of checkpoints that are addressed by their name


@dataclass(frozen=True)
class Published:
    """A checkpoint on the Hub, loaded in bfloat16; ``revision`` is a branch, a tag, or (to repeat exactly) a commit."""

    id: str
    family: str
    revision: str = "main"


PUBLISHED = {
    "qwen2_5_vl_3b": Published("Qwen/Qwen2.5-VL-3B-Instruct", "qwen2_5_vl"),
    "qwen2_5_vl_7b": Published("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl"),
    "gemma3_4b": Published("google/gemma-3-4b-it", "gemma3"),
    "gemma3_12b": Published("google/gemma-3-12b-it", "gemma3"),
    "medgemma_4b": Published("google/medgemma-4b-it", "gemma3"),
    "medgemma1_5_4b": Published("google/medgemma-1.5-4b-it", "gemma3"),
}


def load_lvlm(key_or_path: str | Path, device: str | None = None, revision: str | None = None) -> LVLM:
    """Load a vision-language model by registry key, folder of ``models/``, path, or Hub id (``owner/name``).

    ``device`` defaults to CUDA where there is one. ``revision`` overrides the registry's; the commit that it led to,
    or for a local checkpoint the digest of its weights, is in ``LVLM.revision``. Weights keep the type that they were
    saved in, except that the published six are loaded in bfloat16.

    Raises MedgroundError, with the remedy, for an unknown key or path, a checkpoint of an unsupported family, and a
    repository that is gated or out of reach.
    """
    where, key, published = _locate(str(key_or_path))
    revision = revision or (published.revision if published else "main")
    config_file = _fetch(where, "config.json", revision)
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
        raise MedgroundError(f"{where} cannot be loaded: {_first_line(error)}; {_remedy(where)}") from error
    if kind == "qwen2_5_vl" and processor.size["longest_edge"] > MOST_PIXELS:
        processor.size["longest_edge"] = MOST_PIXELS
    commit = getattr(model.config, "_commit_hash", None) or _digest(Path(where))
    return adapter(key, model, tokenizer, processor, commit)


def _locate(name: str) -> tuple[str, str, Published | None]:
    """Where a model is (folder or Hub id), the key it goes by, and its registry entry."""
    for folder in (LOCAL / name, Path(name)):
        if (folder / "config.json").is_file():
            return str(folder), folder.resolve().name, None
    if name in PUBLISHED:
        return PUBLISHED[name].id, name, PUBLISHED[name]
    for key, published in PUBLISHED.items():
        if name == published.id:
            return name, key, published
    if name.count("/") == 1 and not name.startswith((".", "/")) and not Path(name).parent.exists():
        return name, name.replace("/", "--"), None
    local = sorted(file.parent.name for file in LOCAL.glob("*/config.json"))
    raise MedgroundError(
        f"there is no model {name!r}: no folder with a config.json at {LOCAL / name} or {name}, and no such key. "
        f"Known: {', '.join([*local, *PUBLISHED])}; a Hub id (owner/name) of a supported family works too"
    )


def _fetch(where: str, name: str, revision: str) -> str:
    try:
        return cached_file(where, name, revision=revision)
    except OSError as error:
        raise MedgroundError(f"{where} cannot be loaded: {_first_line(error)}; {_remedy(where, error)}") from error


def _remedy(where: str, error: OSError | None = None) -> str:
    if Path(where).is_dir():
        return "the folder must hold config, weights, tokenizer and image processor, as `save_pretrained` writes them"
    causes = [error, getattr(error, "__cause__", None)]
    if any("gated" in f"{type(cause).__name__} {cause}".lower() for cause in causes):
        return (
            f"the repository is gated: request access at https://huggingface.co/{where}, wait until it is granted, "
            "then set HF_TOKEN or run `hf auth login` with a token of that account"
        )
    return "check the network and the name, or download the repository and give its path instead"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with open(file, "rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"
