"""A real Chromium in front of the app, for tests and for the pictures in the documentation."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = "no Chromium found; `apt-get install chromium` (Debian) or put one named chromium on the PATH"
WAIT = 120_000  # milliseconds, for machines with other things to do
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def serve(root: Path, cwd: Path = REPOSITORY, port: int | None = None) -> Iterator[str]:
    """The app over the tables of ``root``; gives its address. Settings and secrets are those of ``cwd``."""
    port = port or free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(REPOSITORY / "leaderboard/app.py")]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1", "--server.fileWatcherType", "none"]
    environment = {**os.environ, "MEDGROUND_ROOT": str(root), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            _wait(f"http://127.0.0.1:{port}/_stcore/health")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def settled(page) -> None:
    """Wait until the page has a title and the app has stopped running."""
    page.wait_for_selector("h1", timeout=WAIT)
    page.wait_for_function(
        "() => document.querySelector('[data-testid=stApp]')?.dataset.testScriptState === 'notRunning'", timeout=WAIT
    )


def _wait(address: str, seconds: float = WAIT / 1000) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
