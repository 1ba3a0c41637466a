"""Who made an entry, when, and where its code or paper is: what people look for beside a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import streamlit as st

from leaderboard import tables
from medground.attribution import by_entry
from medground.errors import MedgroundError

#: The published methods by their name in the registry: how they are called, and their paper.
PAPERS = {
    "medfocus": ("MedFocus", ""),
    "attention_head": ("Last-layer attention", "https://arxiv.org/abs/1902.10186"),
    "rollout": ("Attention rollout", "https://arxiv.org/abs/2005.00928"),
    "lrp": ("LRP", "https://arxiv.org/abs/2202.07304"),
    "gradient_attention": ("Gradient-weighted attention", "https://arxiv.org/abs/2103.15679"),
    "gradcam": ("Grad-CAM", "https://arxiv.org/abs/1610.02391"),
    "gradcampp": ("Grad-CAM++", "https://arxiv.org/abs/1710.11063"),
    "integrated_gradients": ("Integrated gradients", "https://arxiv.org/abs/1703.01365"),
    "occlusion": ("Occlusion", "https://arxiv.org/abs/1311.2901"),
    "rise": ("RISE", "https://arxiv.org/abs/1806.07421"),
    "prompting": ("Prompting", ""),
    "prompting_medsam": ("Prompting + MedSAM", ""),
    "random": ("Random box", ""),
    "center_box": ("Middle of the film", ""),
    "whole_film": ("Whole film", ""),
    "finding_prior": ("Usual place", ""),
    "finding_prior_lungs": ("Usual place in the lungs", ""),
}
KINDS = {"method": "reproduced here", "submission": "submitted", "floor": "floor"}


@dataclass(frozen=True)
class About:
    """An entry as people know it. ``authors`` says what it does where nobody is named; ``date`` is when a submission
    was received, or the year of a paper; ``flags`` are what its authors declare, as far as it matters to a reader."""

    name: str
    authors: str = ""
    date: str = ""
    link: str | None = None
    flags: tuple[str, ...] = ()


def about(entry: str) -> About:
    """What is known about an entry: of a submission what its card says, of a method what its paper is."""
    said = tables.card(entry)
    if said is not None:
        declared = {"trained_on_sources": "trained on the sources", "used_test_regions": "saw test regions"}
        return About(
            name=str(said.get("method") or entry),
            authors=", ".join(map(str, said.get("authors") or [])),
            date=tables.receipt(entry).get("received", "")[:10],
            link=said.get("link"),
            flags=tuple(words for key, words in declared.items() if said.get(key)),
        )
    return _method(entry)


@cache
def _method(entry: str) -> About:
    try:
        method = by_entry(entry)
    except MedgroundError:  # an entry of another time
        return About(entry)
    name, link = PAPERS.get(method.name, (method.name, ""))
    if method.protocol == "published":
        name += ", as published"
    authors, _, year = method.paper.rpartition(" ")
    if not year.isdigit():
        return About(name, method.paper, "", link or None)
    return About(name, authors.rpartition(", ")[0] or authors, year, link or None)


def labels(entries: Iterable[str]) -> dict[str, str]:
    """A name for each entry that no other one has: what its authors call it, with its id where two are called alike."""
    entries = list(dict.fromkeys(entries))
    called = {entry: about(entry).name for entry in entries}
    times = Counter(name.casefold() for name in called.values())
    return {entry: name if times[name.casefold()] == 1 else f"{name} ({entry})" for entry, name in called.items()}


def everybody() -> dict[str, str]:
    """`labels` of all entries of the board: one name on every page, which its address holds."""
    return {entry: name for entry, (name, _) in _everybody(*version()).items()}


def known() -> dict[str, About]:
    """`about` of all entries of the board."""
    return {entry: told for entry, (_, told) in _everybody(*version()).items()}


def version() -> tuple:
    """What changes when the entries of the board, or what is known about them, do."""
    return tables.version_of_board(), tables.version_of_cards()


@st.cache_resource(show_spinner=False, max_entries=2)
def _everybody(board: object, cards: object) -> dict[str, tuple[str, About]]:
    called = labels(sorted(tables.board().entry.unique()))
    return {entry: (name, about(entry)) for entry, name in called.items()}
