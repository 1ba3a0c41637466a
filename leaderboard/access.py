"""Who is at the other end: sign-in by OpenID Connect, as `.streamlit/secrets.toml` configures it."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitSecretNotFoundError


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


def _secrets() -> dict:
    try:
        return st.secrets.to_dict()
    except StreamlitSecretNotFoundError:
        return {}
