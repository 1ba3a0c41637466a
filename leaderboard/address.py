"""The address of a view: choices that it names, choices that are not there, and links that Back leads back over.

A widget with ``bind="query-params"`` keeps its choice in the address by itself; its key is the parameter's name. No two
pages have one of the same name: it would be carried from page to page, and Back would not come back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from urllib.parse import urlencode

import streamlit as st

from leaderboard.text import plain


def unknown(**known: Collection[str]) -> None:
    """Say which of the choices that the address names are not there; Streamlit passes over them in silence.

    ``known`` are the values that each parameter may have, as they stand in the address. To be called before the widgets
    are drawn, which tidy the address.
    """
    strange = [
        f"{name} “{value}”"
        for name, options in known.items()
        for value in st.query_params.get_all(name)
        if value and value not in options
    ]
    if strange:
        st.warning(
            plain(f"The address asks for {', '.join(strange)}, which is not here. What is shown is the usual view."),
            icon=":material/link_off:",
        )


def to(page: str, choices: Mapping[str, str | Iterable[str]]) -> str:
    """The address of a page with choices made, relative to this app."""
    given = {key: value if isinstance(value, str) else list(value) for key, value in choices.items()}
    return f"{page}?{urlencode(given, doseq=True)}" if given else page


def link(words: str, page: str, **choices: str | Iterable[str]) -> None:
    """A link to a page with choices made, in this tab, so that Back comes back to the choices of this page.

    (`st.page_link` forgets these, and a link in Markdown opens another tab.)
    """
    st.html(f'<p class="link"><a href="{escape(to(page, choices))}" target="_self">{escape(words)}</a></p>')


def table(head: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]]) -> None:
    """A table of texts; a cell that is a pair leads from its text to an address, in this tab."""

    def cell(value: str | tuple[str, str]) -> str:
        if isinstance(value, str):
            return f"<td>{escape(value)}</td>"
        return f'<td><a href="{escape(value[1])}" target="_self">{escape(value[0])}</a></td>'

    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    st.html(f'<table class="links"><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>')
