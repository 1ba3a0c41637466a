"""How much the files that visitors chose and have not sent yet may hold in memory, over all visitors."""

from __future__ import annotations

import os
import threading

import streamlit as st
from starlette.exceptions import HTTPException
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

MOST_MB = 200  # of a table that comes through the browser; `maxUploadSize` in .streamlit/config.toml is the same
HELD_MB = 5 * MOST_MB  # of all visitors' files; the environment variable MEDGROUND_UPLOADS overrides it
FULL = "Others are sending entries. Try again in some minutes, or send yours as a pull request."
_lock = threading.Lock()


def bound() -> None:
    """Hold the running app to `HELD_MB`; a file that does not fit is refused before it is kept. Once is enough."""
    if st.runtime.exists() and not hasattr(manager := st.runtime.get_instance().uploaded_file_mgr, "most_bytes"):
        limit(manager, int(os.environ.get("MEDGROUND_UPLOADS") or HELD_MB) << 20)


def limit(manager: MemoryUploadedFileManager, most: int) -> None:
    """Let ``manager`` hold so many bytes; what is more gets `FULL` with the status 503. Streamlit bounds each file."""
    add = manager.add_file

    def add_file(session_id: str, file) -> None:
        with _lock:
            held = sum(len(one.data) for own in [*manager.file_storage.values()] for one in [*own.values()])
            if held + len(file.data) > manager.most_bytes:
                raise HTTPException(503, FULL)
            add(session_id, file)

    manager.most_bytes, manager.add_file = most, add_file
