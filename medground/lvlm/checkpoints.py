"""Where a model's checkpoint is and which one it is, without loading it.

A folder is found without importing torch; keys and ids of published checkpoints are declared by the families, which
import it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from transformers.utils import cached_file

from ..errors import MedgroundError

ABOUT = {".md", ".gitattributes", ""}  # what lies in a checkpoint's folder for people
LOCAL = Path("models")  # folders of checkpoints that are addressed by their name


@dataclass(frozen=True)
class Published:
    """A checkpoint on the Hub; ``revision`` is a branch, a tag, or (to repeat exactly) a commit."""

    id: str
    revision: str = "main"
    dtype: str = "bfloat16"  # a name in torch


def revision(key_or_path: str) -> str:
    """What identifies a model's weights: the commit on the Hub, or the digest of a local checkpoint's weights.

    Raises MedgroundError, with the remedy, where there is no such model or it is out of reach.
    """
    name, wanted = at(key_or_path)
    where, _, declared = locate(name)
    if Path(where).is_dir():
        return digest(Path(where))
    config = Path(fetch(where, "config.json", wanted or (declared.revision if declared else "main")))
    return config.parent.name  # the Hub's cache keeps a snapshot in a folder named by its commit


def at(name: str) -> tuple[str, str | None]:
    """A model's name and the revision that it asks for: ``owner/name@revision``; None where it asks for none."""
    if Path(name).exists():
        return name, None
    name, _, wanted = name.partition("@")
    return name, wanted or None


def contents(where: str) -> dict[str, str]:
    """What the results of a model depend on: the digest of each file of its folder, or its commit on the Hub.

    ``where`` is a key, a folder, or a Hub id, which may name a revision (``id@revision``). Pages for people (a README,
    a licence) do not count. Raises MedgroundError as `revision` does.
    """
    for folder in (LOCAL / where, Path(where)):
        if folder.is_dir():
            files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix not in ABOUT]
            found = {path.relative_to(folder).as_posix(): _sha256(path) for path in files}
            causes = folder.with_name(f"{folder.name}.causes.json")  # what a phantom's model was taught to answer from
            return found | ({causes.name: _sha256(causes)} if causes.exists() else {})
    name, _, wanted = where.partition("@")
    if wanted:
        return {name: Path(fetch(name, "config.json", wanted)).parent.name}
    return {name: revision(name)}


def locate(name: str) -> tuple[str, str, Published | None]:
    """Where a model is (folder or Hub id), the key it goes by, and what its family declares, of a published one.

    Raises MedgroundError that lists the known names where it is nowhere.
    """
    for folder in (LOCAL / name, Path(name)):
        if (folder / "config.json").is_file():
            return str(folder), folder.resolve().name, None
    from .registry import published  # the families import torch

    known = published()
    if name in known:
        return known[name].id, name, known[name]
    for key, declared in known.items():
        if name == declared.id:
            return name, key, declared
    if name.count("/") == 1 and not name.startswith((".", "/")) and not Path(name).parent.exists():
        return name, name.replace("/", "--"), None
    local = sorted(file.parent.name for file in LOCAL.glob("*/config.json"))
    raise MedgroundError(
        f"there is no model {name!r}: no folder with a config.json at {LOCAL / name} or {name}, and no such key. "
        f"Known: {', '.join([*local, *known])}; a Hub id (owner/name) of a supported family works too"
    )


def fetch(where: str, name: str, revision: str) -> str:
    """The path of one file of a checkpoint, downloaded where need be; MedgroundError with the remedy otherwise."""
    try:
        return str(cached_file(where, name, revision=revision))
    except OSError as error:
        raise MedgroundError(f"{where} cannot be loaded: {first_line(error)}; {remedy(where, error)}") from error


def remedy(where: str, error: OSError | None = None) -> str:
    """What to do about a checkpoint that does not load."""
    if Path(where).is_dir():
        return (
            "the folder must hold config, weights, tokenizer and image processor, as `save_pretrained` writes them; "
            f"`git checkout {where}` brings back a model of the repository, download another again"
        )
    causes = [error, getattr(error, "__cause__", None)]
    if any("gated" in f"{type(cause).__name__} {cause}".lower() for cause in causes):
        return (
            f"the repository is gated: request access at https://huggingface.co/{where}, wait until it is granted, "
            "then set HF_TOKEN or run `hf auth login` with a token of that account"
        )
    return "check the network and the name, or download the repository and give its path instead"


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def digest(folder: Path) -> str:
    """The digest of a local checkpoint's weights."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with open(file, "rb") as stream:
            while block := stream.read(1 << 24):
                digest.update(block)
    return f"sha256:{digest.hexdigest()[:16]}"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
