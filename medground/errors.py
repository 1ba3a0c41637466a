"""Errors that a user can act on, and how a command ends with one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps


class MedgroundError(Exception):
    """Bad input or a missing thing; the message names it and the remedy. Shown without a traceback."""


def friendly(main: Callable) -> Callable:
    """Wrap a stage or command: a MedgroundError becomes one message on stderr and exit code 1."""

    @wraps(main)
    def run(*args, **kwargs):
        try:
            return main(*args, **kwargs)
        except MedgroundError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(1) from None
        except KeyboardInterrupt:
            print("interrupted; finished batches are kept, run the same command to go on", file=sys.stderr)
            raise SystemExit(130) from None

    return run
