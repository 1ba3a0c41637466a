"""What a source's licence allows: declared where the source is, read by all that shows or publishes films."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a column tells about a film."""

    KEY = "keys"  # which film, patient, model or split: useless without a copy of the source
    VERDICT = "verdicts"  # yes or no, and counts of them
    HASH = "hashes"
    AGGREGATE = "aggregates"  # numbers over many cases
    TEXT = "text"  # findings, questions, and what a model wrote about the film
    BOXES = "boxes"  # expert regions, and the size of the frame that they are drawn in
    PIXELS = "pixels"
    EDITED = "edited pixels"


EVERYTHING = frozenset(Kind)
NO_CONTENT = frozenset({Kind.KEY, Kind.VERDICT, Kind.HASH, Kind.AGGREGATE})


@dataclass(frozen=True)
class Licence:
    """The terms of a source, and what of it may leave: each `Kind` that is not named stays at home."""

    text: str  # its name, as it is printed
    url: str  # where the source and its terms are
    credit: str  # whom to acknowledge and cite
    obtain: str  # how to get the films
    may_leave: frozenset[Kind]
