"""Where the code and the board are, as cards, the notebook and the Space say it: nothing where nobody gave an address.

Addresses are ``publish.repository`` and ``publish.space`` of params.yaml.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..params import Params

NOTEBOOK = "examples/from_anywhere.ipynb"
_GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?")


def links(p: Params) -> dict[str, str]:
    """The addresses that params.yaml gives: ``repository``, ``space``."""
    told = {"repository": p.publish.repository, "space": p.publish.space}
    return {name: address for name, address in told.items() if address}


def addresses(told: Mapping[str, str]) -> str:
    """Both addresses in Markdown, on one line; empty where none is given."""
    names = {"repository": "Code", "space": "Leaderboard"}
    return " · ".join(f"{text}: <{told[name]}>" for name, text in names.items() if told.get(name))


def badge(told: Mapping[str, str]) -> str:
    """A badge in Markdown that opens `NOTEBOOK` in Colab; empty unless the code is on GitHub, where Colab reads."""
    found = _GITHUB.fullmatch(told.get("repository", ""))
    if not found:
        return ""
    colab = "https://colab.research.google.com"
    address = f"{colab}/github/{found[1]}/{found[2]}/blob/main/{NOTEBOOK}"
    return f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({address})"


def requirement(extras: str, told: Mapping[str, str]) -> str:
    """What pip is told to install, quoted for a shell: from the repository where its address is known."""
    where = f" @ git+{told['repository'].rstrip('/')}" if told.get("repository") else ""
    return f"'medground[{extras}]{where}'"
