"""Where films, questions and expert regions come from: the phantom, a provider's files on disk, or your own table."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MedgroundError
from ..files import write_json
from .licence import EVERYTHING, NO_CONTENT, Kind, Licence
from .provider import Annotated
from .source import SOURCES, LicenceError, Source, data_root, licence_of, register_source

if TYPE_CHECKING:
    from ..params import Params

__all__ = [
    "EVERYTHING", "NO_CONTENT", "REFERENCES", "SOURCES", "Annotated", "Kind", "Licence", "LicenceError", "Source",
    "data_root", "fetch", "films", "ingest", "licence_of", "module", "references", "register_source",
]  # fmt: skip
REFERENCES = "references"  # stands beside the sources, for what the normal films are made of
_NORMAL = "phantom_region"  # gives the normal films where no chosen source has any


def fetch(params: Params, raw: Path) -> str:
    """Bring under ``raw`` what the profile's sources are made of, and say what that is.

    The phantom's CT is downloaded; a provider's files stay where they are. ``raw/<source>.json`` takes the digest of
    each file, annotations and films alike, and ``raw/references.json`` those of the normal films' source: what is made
    of a source is made again when one of its files is another.
    """
    said = []
    for name in (*params.sources, REFERENCES):
        source = _origin(params) if name == REFERENCES else SOURCES.get(name)
        root, files = source.files(params, raw)
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(_digest, [root / file for file in files]))
        inventory = {file.as_posix(): digest for file, digest in zip(files, digests, strict=True)}
        write_json(dict(sorted(inventory.items())), raw / f"{name}.json")
        said.append(f"{name} ({len(files)} files)")
    return f"{raw}: {', '.join(said)}"


def ingest(params: Params, source: str, raw: Path, out: Path) -> dict[str, int]:
    """Write ``out/samples.parquet`` for one source; return what was dropped, by reason."""
    return SOURCES.get(source).ingest(params, raw, out)


def references(params: Params, raw: Path, out: Path) -> None:
    """Write ``out/references.parquet``: normal films with a mask of each concept.

    They come from the first of the profile's sources that has some (the phantom, Chest ImaGenome), else from the
    phantom.
    """
    _origin(params).references(params, raw, out)


def films(source: str, params: Params | None = None) -> list[Path]:
    """The films that a source's samples are made of, below its folder: a small part of most downloads."""
    found = SOURCES.get(source)
    if not found.annotations:
        raise MedgroundError(f"{source} is made here; it needs no films of yours")
    root = found.root(params)
    return sorted(path.relative_to(root) for path in found.films(root))


def module(params: Params, source: str) -> str:
    """The module that a source, or `REFERENCES`, comes from. MedgroundError for one that is not known."""
    return type(_origin(params) if source == REFERENCES else SOURCES.get(source)).__module__


def _origin(params: Params) -> Source:
    """The source of the normal films."""
    chosen = (SOURCES.get(name) for name in params.sources)
    return next((source for source in chosen if source.has_references), SOURCES.get(_NORMAL))


def _digest(path: Path) -> str:
    """The SHA-256 of a file; what cannot be read is said, and ingest drops its samples by that reason."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
