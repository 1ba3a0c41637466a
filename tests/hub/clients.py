"""The real clients in a process of their own, which reads the Hub's address from the environment as a user's does.

`huggingface_hub` and `datasets` take their settings when they are imported. They are imported once, in a process that
then forks for every command; importing them anew each time would cost seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

_SERVE = """
import json, os, sys, time
import datasets, medground.cli, medground.hub.films, medground.hub.folder, medground.hub.push
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(order["folder"])
        os.environ.update(order["environment"])
        for number, stream in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = open(0)
        sys.argv = ["medground", *order["words"]]
        time.sleep = lambda seconds: None  # the pauses between the clients' own retries
        exec(order["code"], {})
        sys.stdout.flush()
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Clients:
    """``with Clients(home, endpoint) as clients: clients.run(code, words, environment, folder)``."""

    MEDGROUND = "from medground.cli import main; main()"

    def __init__(self, home: Path, endpoint: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Clients:
        assert self.process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_) -> None:
        self.process.communicate()

    def run(self, code: str, words: Sequence[str], environment: dict[str, str], folder: Path) -> CompletedProcess:
        """Run code in a fork with the arguments and extra environment given, in ``folder``."""
        order = {"code": code, "words": list(words), "environment": environment, "folder": str(folder)}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        output = [(folder / stream).read_text() for stream in ("stdout", "stderr")]
        return CompletedProcess(words, status, *output)
