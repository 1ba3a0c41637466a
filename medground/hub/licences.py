"""The licences: each source declares what may leave where it is written, and nothing else does.

A column of a published table holds one `Kind` of information (`tables`). A source that is not registered, or a column
whose kind its source does not declare, is refused (`guard`): the default is no.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..sources import EVERYTHING, NO_CONTENT, SOURCES, Kind, LicenceError, licence_of

__all__ = ["EVERYTHING", "NO_CONTENT", "Kind", "LicenceError", "Terms", "declared", "may_leave", "source"]


@dataclass(frozen=True)
class Terms:
    """Where films come from, under which terms, and what of them may leave."""

    title: str
    licence: str
    url: str
    credit: str
    obtain: str
    may_leave: frozenset[Kind]


def declared(name: str) -> bool:
    """Whether a source says what may leave."""
    return name in SOURCES


def source(name: str) -> Terms:
    """The declaration of a source. Raises LicenceError for one that has none."""
    licence = licence_of(name)
    title = SOURCES.get(name).title
    return Terms(title, licence.text, licence.url, licence.credit, licence.obtain, licence.may_leave)


def may_leave(name: str, kind: Kind) -> bool:
    """Whether a source lets this kind of information leave. Raises LicenceError for an undeclared source."""
    return kind in licence_of(name).may_leave
