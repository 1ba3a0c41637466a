"""The door for sources: one class in one file, which declares its licence and reads its own format.

Our own are the modules of this package and the phantom; a package of your own brings more through the entry point
group ``medground.sources``. See docs/how-to/source.md.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from .. import records
from ..doors import Door
from ..errors import MedgroundError
from .licence import Kind, Licence
from .provider import Annotated, samples

if TYPE_CHECKING:
    from ..params import Params


class Source(ABC):
    """Where films, questions and expert regions come from.

    A subclass gives the attributes and `annotated`; the rest has defaults for a provider whose files lie under
    ``MEDGROUND_DATA_ROOT``.
    """

    #: Its key in params.yaml and in every table.
    name: str
    title: str
    licence: Licence
    #: How the provider ships it: the folder or files below the data root.
    ships: str
    #: What the samples are read from, below the data root.
    annotations: tuple[Path, ...] = ()
    #: What the expert's boxes draw: the finding, or the anatomical region that a report names for it.
    labels: Literal["finding", "region"] = "finding"
    #: Whether `references` gives normal films with concept masks.
    has_references = False

    @abstractmethod
    def annotated(self, root: Path) -> Sequence[Annotated]:
        """What the provider annotated, in the provider's own order, which numbers the samples.

        ``root`` is the data root. Raises MedgroundError, naming file and remedy, where it is not the provider's.
        """

    def root(self, params: Params | None = None) -> Path:
        """The folder that the files are in.

        ``params`` are those of params.yaml; only a source that they configure needs them.
        """
        return data_root()

    def samples(self, root: Path, params: Params | None = None) -> tuple[list[dict], dict[str, int]]:
        """Rows of ``records.SAMPLES``, and what was dropped or changed, by reason.

        ``root`` is the folder of the files; ``params`` as for `root`.
        """
        return samples(self.name, self.licence.text, self.annotated(root), self.labels)

    def films(self, root: Path) -> list[Path]:
        """The films that the samples are made of, below ``root``: a small part of most downloads."""
        return sorted({item.film for item in self.annotated(root) if not item.problem})

    def files(self, params: Params, raw: Path) -> tuple[Path, list[Path]]:
        """A folder, and the files below it that the samples are made of; what is downloaded, goes under ``raw``.

        ``params`` are those of params.yaml.
        """
        root = self.root(params)
        for path in self.annotations:
            if not (root / path).is_file():
                raise MedgroundError(f"{self.name}: {root / path} is missing; download it, as docs/reproduce.md says")
        return root, [*self.annotations, *sorted(path.relative_to(root) for path in self.films(root))]

    def ingest(self, params: Params, raw: Path, out: Path) -> dict[str, int]:
        """Write ``out/samples.parquet``; return what was dropped, by reason.

        ``raw`` is where the pipeline keeps what it downloaded; ``params`` are those of params.yaml.
        """
        rows, dropped = self.samples(self.root(params), params)
        records.write_table(rows, records.SAMPLES, out / "samples.parquet")
        return dropped

    def references(self, params: Params, raw: Path, out: Path) -> None:
        """Write ``out/references.parquet``: normal films with a mask of each concept, where `has_references`.

        ``raw`` and ``params`` are as for `ingest`.
        """
        raise MedgroundError(f"{self.name} has no normal films with concept masks")


SOURCES: Door[Source] = Door(
    "medground.sources",
    "source",
    ("medground.phantom.source", "medground.phantom.causes.source", "medground.sources.*"),
)
S = TypeVar("S", bound="type[Source] | Source")


def register_source(source: S) -> S:
    """Make a source known under its ``name``; a decorator for a class, or a call with an instance.

    Raises MedgroundError for a source without a name, a title, or a licence: what may be done with its films must be
    known before anything is made of them.
    """
    made = source() if isinstance(source, type) else source
    lacking = [attribute for attribute in ("name", "title", "ships") if not getattr(made, attribute, "")]
    if lacking:
        raise MedgroundError(f"the source {type(made).__module__}.{type(made).__qualname__} lacks {', '.join(lacking)}")
    _licensed(made)
    SOURCES.register(made.name, made)
    return source


def licence_of(name: str) -> Licence:
    """The terms of a source, as it declares them. Raises LicenceError for a source that is not known.

    ``name`` is a source's.
    """
    if name not in SOURCES:
        raise LicenceError(
            f"the source {name!r} does not declare what may leave, since none of that name is registered; known: "
            f"{', '.join(SOURCES.names())}. A source declares its licence in its own file: docs/how-to/source.md"
        )
    return SOURCES.get(name).licence


class LicenceError(MedgroundError):
    """Something is about to be done that a source does not allow, or says nothing about."""


def data_root() -> Path:
    """The folder that holds the providers' files, from the environment variable ``MEDGROUND_DATA_ROOT``."""
    root = os.environ.get("MEDGROUND_DATA_ROOT")
    if not root or not Path(root).is_dir():
        raise MedgroundError(
            f"MEDGROUND_DATA_ROOT is {root!r}; set it to the folder that holds the providers' files "
            "(docs/reproduce.md), or use the offline default: `medground profile phantom`"
        )
    return Path(root)


def _licensed(source: Source) -> None:
    licence = getattr(source, "licence", None)
    if not isinstance(licence, Licence) or not licence.text.strip():
        raise LicenceError(
            f"the source {source.name!r} declares no licence; give it `licence = Licence(text=..., url=..., "
            "credit=..., obtain=..., may_leave=...)`, with NO_CONTENT where nothing but keys and numbers may leave"
        )
    strange = [kind for kind in licence.may_leave if not isinstance(kind, Kind)]
    if strange:
        raise LicenceError(f"the licence of {source.name!r} lets {strange} leave; the kinds are {', '.join(Kind)}")
