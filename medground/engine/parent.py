"""A worker ends when the process that started it does, however that died."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_LOOK = 1.0  # seconds between two looks, where the kernel sends no signal


def end_with(parent: int) -> None:
    """Let this process die with its ``parent``: by the kernel's signal on Linux, elsewhere by looking every second."""
    if not (sys.platform == "linux" and _signalled()):
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it died before the signal was ordered
        os._exit(1)


def _signalled() -> bool:
    return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)
