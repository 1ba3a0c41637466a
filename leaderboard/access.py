"""Who is at the other end: sign-in by OpenID Connect, as `.streamlit/secrets.toml` configures it."""

from __future__ import annotations

import time

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError

RECENT = 600  # seconds: an older sign-in was seen before the app was started again


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
    """True once after each sign-in: whoever comes back from the provider is sent to the app's first page.

    A sign-in is known by when its token was issued, which OpenID Connect requires it to say.
    """
    if not configured() or not st.user.is_logged_in:
        return False
    token = st.user.get("sub"), st.user.get("iat", 0)
    first = token not in _signed_in()
    _signed_in().add(token)
    return first and time.time() - token[1] < RECENT


@st.cache_resource
def _signed_in() -> set[tuple[str | None, float]]:
    """The sign-ins since the app was started."""
    return set()


def _secrets() -> dict:
    try:
        return st.secrets.to_dict()
    except StreamlitSecretNotFoundError:
        return {}
