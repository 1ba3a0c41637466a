"""Where films, questions and expert regions come from: the phantom, or a provider's files on disk."""

from __future__ import annotations

import hashlib
import os
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

from .. import files, records
from ..errors import MedgroundError

PHANTOM = ("phantom_region", "phantom_lesion")
# Each provider's module has ingest(data_root) -> (rows of records.SAMPLES, what was dropped and why),
# ANNOTATIONS (paths below the data root of what the samples are made from) and FOLDER (how the provider ships it).
PROVIDERS = {
    "imagenome": "medground.sources.imagenome",
    "vindr_cxr": "medground.sources.vindr_cxr",
    "padchest_gr": "medground.sources.padchest_gr",
    "nih_cxr": "medground.sources.nih_cxr",
}


def fetch(params: SimpleNamespace, raw: Path) -> str:
    """Bring under ``raw`` what the profile's sources are made of, and say what that is.

    The phantom's CT is downloaded; a provider's files stay where they are (``MEDGROUND_DATA_ROOT``), and
    ``inventory.json`` takes the hashes of their annotation files, so that the pipeline notices when they change.
    """
    raw.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[Path]] = {}
    if _needs_ct(params):
        from ..phantom import fetch_ct

        fetch_ct(raw / "ct")
        parts["phantom"] = sorted(path for path in (raw / "ct").iterdir() if path.is_file())
    for source in sorted(set(params.sources) - set(PHANTOM)):
        parts[source] = [data_root() / path for path in _provider(source).ANNOTATIONS]
    inventory = {
        source: {path.name: hashlib.sha256(_bytes(path, source)).hexdigest() for path in paths}
        for source, paths in sorted(parts.items())
    }
    files.write_json(inventory, raw / "inventory.json")
    return f"{raw}: {', '.join(inventory)}"


def ingest(params: SimpleNamespace, source: str, raw: Path, out: Path) -> dict[str, int]:
    """Write ``out/samples.parquet`` for one source; return what was dropped, by reason."""
    if source in PHANTOM:
        from ..phantom import source as phantom

        return phantom.ingest(params, source, raw, out)
    samples, dropped = _provider(source).ingest(data_root())
    records.write_table(samples, records.SAMPLES, out / "samples.parquet")
    return dropped


def references(params: SimpleNamespace, raw: Path, out: Path) -> None:
    """Write ``out/references.parquet``: normal films with a mask of each concept.

    They come from Chest ImaGenome, the one provider with anatomical regions, where the profile has it, otherwise from
    the phantom.
    """
    if _needs_ct(params):
        from ..phantom import source as phantom

        phantom.references(params, raw, out)
    else:
        from . import imagenome

        imagenome.references(params, data_root(), out)


def films(source: str) -> list[Path]:
    """The films that a provider's samples are made of, below the data root: a small part of most downloads."""
    module, root = _provider(source), data_root()
    paths = module.films(root) if hasattr(module, "films") else {item.film for item in module.annotated(root)}
    return sorted(path.relative_to(root) for path in paths)


def data_root() -> Path:
    """The folder that holds the providers' files, from the environment variable ``MEDGROUND_DATA_ROOT``."""
    root = os.environ.get("MEDGROUND_DATA_ROOT")
    if not root or not Path(root).is_dir():
        raise MedgroundError(
            f"MEDGROUND_DATA_ROOT is {root!r}; set it to the folder that holds the providers' files "
            "(README, 'Reproduce the paper'), or use the offline default: `medground profile phantom`"
        )
    return Path(root)


def _needs_ct(params: SimpleNamespace) -> bool:
    return bool(set(params.sources) & set(PHANTOM)) or "imagenome" not in params.sources


def _provider(source: str):
    if source not in PROVIDERS:
        raise MedgroundError(f"unknown source {source!r} in params.yaml; known: {', '.join((*PHANTOM, *PROVIDERS))}")
    return import_module(PROVIDERS[source])


def _bytes(path: Path, source: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise MedgroundError(
            f"{source}: {path} cannot be read ({error.strerror}); download it as the README says"
        ) from None
