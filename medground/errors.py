"""Errors that a user can act on, and how a command ends with one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps

# Which extra of pyproject.toml brings a module that the core does without.
EXTRAS = {
    "torch": "run",
    "transformers": "run",
    "diffusers": "run",
    "ot": "run",
    "nibabel": "run",
    "pydicom": "run",
    "dvc": "run",
    "streamlit": "app",
    "altair": "app",
    "matplotlib": "app",
    "datasets": "hub",
    "huggingface_hub": "hub",
    "httpx2": "hub",
    "ray": "ray",
}


class MedgroundError(Exception):
    """Bad input or a missing thing; the message names it and the remedy. Shown without a traceback."""


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install where a module of an extra is missing; None for any other module."""
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        return None
    extra = EXTRAS[module]
    return f"this needs {module}, which the core does without: pip install 'medground[{extra}]'"


def friendly(main: Callable) -> Callable:
    """Wrap a stage or command: a MedgroundError becomes one message on stderr and exit code 1."""

    @wraps(main)
    def run(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except MedgroundError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except ModuleNotFoundError as error:
            if not (remedy := missing_extra(error)):
                raise
            print(f"error: {remedy}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("interrupted; finished batches are kept, run the same command to go on", file=sys.stderr)
            raise SystemExit(130) from None

    return run
