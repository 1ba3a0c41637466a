"""Start the app in a container: sign-in from the environment, submissions on persistent storage."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

PORT = "8501"


def sign_in(environment: Mapping[str, str]) -> str | None:
    """The content of Streamlit's ``secrets.toml``, None where the environment configures no sign-in.

    ``STREAMLIT_SECRETS`` is that content. Otherwise a Hub Space with ``hf_oauth`` provides ``OAUTH_CLIENT_ID``,
    ``OAUTH_CLIENT_SECRET``, ``OPENID_PROVIDER_URL`` and ``SPACE_HOST``.
    """
    if environment.get("STREAMLIT_SECRETS"):
        return environment["STREAMLIT_SECRETS"]
    needed = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OPENID_PROVIDER_URL", "SPACE_HOST")
    if not all(environment.get(name) for name in needed):
        return None
    auth = {
        "redirect_uri": f"https://{environment['SPACE_HOST']}/oauth2callback",
        "cookie_secret": secrets.token_urlsafe(32),
        "client_id": environment["OAUTH_CLIENT_ID"],
        "client_secret": environment["OAUTH_CLIENT_SECRET"],
        "server_metadata_url": f"{environment['OPENID_PROVIDER_URL']}/.well-known/openid-configuration",
    }
    emails = [email.strip() for email in environment.get("MEDGROUND_MAINTAINERS", "").split(",") if email.strip()]
    # A JSON string or list of strings is also a TOML one.
    lines = ["[auth]", *(f"{key} = {json.dumps(value)}" for key, value in auth.items())]
    return "\n".join([*lines, "", "[maintain]", f"emails = {json.dumps(emails)}", ""])


def main() -> None:
    if content := sign_in(os.environ):
        path = Path(".streamlit/secrets.toml")
        path.parent.mkdir(exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(content)
    if place := os.environ.get("MEDGROUND_SUBMISSIONS"):
        _keep(Path("submissions"), Path(place))
    port = os.environ.get("PORT", PORT)
    os.execvp(
        "streamlit", ["streamlit", "run", "leaderboard/app.py", "--server.port", port, "--server.address", "0.0.0.0"]
    )


def _keep(here: Path, place: Path) -> None:
    """Make ``submissions`` a link to persistent storage, with the entries that came with the image copied once."""
    import shutil

    place.mkdir(parents=True, exist_ok=True)
    if here.is_dir() and not here.is_symlink():
        for entry in here.iterdir():
            if not (place / entry.name).exists():
                shutil.copytree(entry, place / entry.name) if entry.is_dir() else shutil.copy(entry, place / entry.name)
        shutil.rmtree(here)
    if not here.exists():
        here.symlink_to(place)


if __name__ == "__main__":
    main()
