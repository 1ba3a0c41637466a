"""Who is at the other end: sign-in by OpenID Connect, as `.streamlit/secrets.toml` configures it."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from pathlib import Path

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

from leaderboard import tables

RECENT = 600  # seconds: an older sign-in was seen before the app was started again
MOST_KNOWN = 10_000  # sign-ins that are remembered
ADDRESS = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def configured() -> bool:
    """Whether there is a sign-in at all: the section ``[auth]`` of the secrets."""
    return "auth" in _secrets()


def user() -> str | None:
    """The e-mail of whoever is signed in; one that its provider calls unverified does not count."""
    if not configured() or not st.user.is_logged_in or st.user.get("email_verified") is False:
        return None
    return st.user.get("email")


def maintainer() -> str | None:
    """The e-mail of the maintainer who is signed in: one of ``emails`` in the section ``[maintain]`` of the secrets."""
    allowed = _secrets().get("maintain", {}).get("emails", [])
    email = user()
    return email if email and email.lower() in {known.lower() for known in allowed} else None


def just_signed_in() -> bool:
    """True once after each sign-in: whoever comes back from the provider is sent to where it began.

    A sign-in is known by when its token was issued, which OpenID Connect requires it to say.
    """
    if not configured() or not st.user.is_logged_in:
        return False
    token, known = (st.user.get("sub"), st.user.get("iat", 0)), _signed_in()
    first = token not in known
    known[token] = None
    while len(known) > MOST_KNOWN:
        known.pop(next(iter(known)))
    return first and time.time() - token[1] < RECENT


def is_address(text: str) -> bool:
    """Whether a text looks like an e-mail address that somebody may have."""
    return len(text) <= 200 and ADDRESS.fullmatch(text) is not None


def pseudonym(email: str) -> str:
    """What tells people apart without saying who they are: nobody who lacks this place's secret can check a guess."""
    path = _private() / "secret"
    if not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    secret = path.read_text()[:64]  # of two that wrote at once, the first counts
    return hmac.new(secret.encode(), email.strip().lower().encode(), hashlib.sha256).hexdigest()


def keep_address(entry: str, email: str) -> None:
    """Keep who sent an entry, for the maintainers of this place alone: in no receipt, no table, no copy of the app."""
    handle = os.open(_private() / f"{entry}.address", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(email)


def address_of(entry: str) -> str | None:
    """The address of who sent an entry, None where it was not kept."""
    path = tables.root() / "submissions" / "_private" / f"{entry}.address"
    return path.read_text() if path.is_file() else None


def _private() -> Path:
    folder = tables.root() / "submissions" / "_private"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@st.cache_resource
def _signed_in() -> dict[tuple[str | None, float], None]:
    """The latest sign-ins since the app was started, in their order."""
    return {}


def _secrets() -> dict:
    try:
        return st.secrets.to_dict()
    except StreamlitSecretNotFoundError:
        return {}
