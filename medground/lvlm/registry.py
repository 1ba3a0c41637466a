"""The door for model families, and how to load a model by key, Hub id or path.

Our own families are the modules of ``medground.lvlm.families``; a package of your own brings more through the entry
point group ``medground.models``. See docs/how-to/model.md.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import torch
from transformers import AutoTokenizer

from .. import files
from ..doors import Door
from ..errors import MedgroundError
from . import checkpoints
from .base import LVLM
from .checkpoints import Published

FAMILIES: Door[type[LVLM]] = Door("medground.models", "model family", ("medground.lvlm.families.*",))
F = TypeVar("F", bound=type[LVLM])


def register_family(family: F) -> F:
    """Class decorator: make an `LVLM` known under its ``family``."""
    if not getattr(family, "family", ""):
        raise MedgroundError(
            f"{family.__module__}.{family.__qualname__} has no `family`: give it a name to register by"
        )
    FAMILIES.register(family.family, family)
    return family


def published() -> dict[str, Published]:
    """The checkpoints on the Hub that the families declare, by key."""
    found: dict[str, Published] = {}
    for name, family in FAMILIES.items():
        if twice := sorted(set(family.published) & set(found)):
            raise MedgroundError(f"the family {name} declares {', '.join(twice)}, which another family has; rename it")
        found.update(family.published)
    return found


def load_lvlm(
    key_or_path: str | Path, device: str | None = None, revision: str | None = None, most_pixels: int = 0
) -> LVLM:
    """Load a vision-language model by a family's key, folder of ``models/``, path, or Hub id (``owner/name``, or
    ``owner/name@revision``).

    ``device`` defaults to CUDA where there is one. ``revision`` overrides the one that the family declares; the commit
    that it led to, or for a local checkpoint the digest of its weights, is in ``LVLM.revision``. Weights keep the type
    that they were saved in, except that those a family declares as published are loaded as it says, in bfloat16 unless
    it says otherwise. ``most_pixels`` is `LVLM.most_pixels`, in a repository ``canvas.most_pixels`` of params.yaml.

    Raises MedgroundError, with the remedy, for an unknown key or path, a checkpoint that no family or more than one
    handles, a module that the family needs and is not there, and a repository that is gated or out of reach.
    ``key_or_path`` is any of these.
    """
    name, wanted = checkpoints.at(str(key_or_path))
    where, key, declared = checkpoints.locate(name)
    revision = revision or wanted or (declared.revision if declared else "main")
    described = checkpoints.fetch(where, "config.json", revision)
    family = family_of(files.read_json(described), where)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model = family.model_class.from_pretrained(
            where,
            revision=revision,
            dtype=getattr(torch, declared.dtype) if declared else "auto",
            attn_implementation="sdpa",
        ).to(device)
        tokenizer = AutoTokenizer.from_pretrained(where, revision=revision)
        processor = family.image_processor_class.from_pretrained(where, revision=revision)
    except Exception as error:  # each file has a reader that raises what it likes on damage
        raise MedgroundError(
            f"{where} cannot be loaded: {checkpoints.first_line(error)}; {checkpoints.remedy(where)}"
        ) from error
    # the Hub's cache keeps a snapshot in a folder named by its commit
    commit = checkpoints.digest(Path(where)) if Path(where).is_dir() else Path(described).parent.name
    lvlm = family(key, model, tokenizer, processor, commit)
    lvlm.most_pixels = most_pixels
    return lvlm


def family(key_or_path: str) -> type[LVLM]:
    """The family of a model, without loading it. Raises MedgroundError as `load_lvlm` does.

    ``key_or_path`` is as for `load_lvlm`.
    """
    name, wanted = checkpoints.at(key_or_path)
    where, _, declared = checkpoints.locate(name)
    config = checkpoints.fetch(where, "config.json", wanted or (declared.revision if declared else "main"))
    return family_of(files.read_json(config), where)


def family_of(config: dict, where: str) -> type[LVLM]:
    """The family that handles a checkpoint with this ``config.json``; MedgroundError where none or several do."""
    found = [family for _, family in FAMILIES.items() if family.handles(config)]
    if not found:
        raise MedgroundError(
            f"{where} is a checkpoint of the family {config.get('model_type')!r}; supported: "
            f"{', '.join(FAMILIES.names())}. A new family is one file of your own: docs/how-to/model.md"
        )
    if len(found) > 1:
        names = ", ".join(f"{family.family} ({family.__module__})" for family in found)
        raise MedgroundError(f"{where} is handled by several families: {names}; uninstall one of them")
    missing = [module for module in found[0].requires if find_spec(module) is None]
    if missing:
        raise MedgroundError(
            f"the family {found[0].family} needs {', '.join(missing)}: pip install {' '.join(missing)}"
        )
    return found[0]
