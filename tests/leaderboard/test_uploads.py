"""The bound on what all visitors together hold in memory, on Streamlit's own manager."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from leaderboard import uploads


def test_no_visitor_can_fill_the_memory_for_all():
    manager = MemoryUploadedFileManager("/upload")
    uploads.limit(manager, 1000)

    def choose(visitor: str, name: str, size: int) -> None:
        manager.add_file(visitor, UploadedFileRec(name, name, "", bytes(size)))

    choose("first", "a", 600)
    choose("second", "b", 400)
    with pytest.raises(HTTPException, match="503: Others are sending"):
        choose("second", "c", 1)
    assert not manager.get_files("second", ["c"]) and len(manager.get_files("second", ["b"])) == 1
    manager.remove_session_files("first")
    choose("second", "c", 600)
    manager.remove_file("second", "c")
    choose("third", "d", 600)
