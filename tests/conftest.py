"""What tests of several folders share."""

from pathlib import Path

import pytest

from medground.errors import MedgroundError
from medground.phantom import ct

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def ct_folder():
    """The CT of the phantom: where the pipeline keeps it, or downloaded, once for a checkout, into ``.cache``."""
    kept, fetched = ROOT / "data/raw/ct", ROOT / ".cache/ct"
    if all((kept / name).is_file() for name in ct.FILES):
        return kept
    try:
        ct.fetch_ct(fetched)
    except MedgroundError as error:
        pytest.skip(f"no CT: {error}")
    return fetched
