"""Films and questions of one source: data/samples/<source>/ and, for the phantom, its normal references."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from medground import engine, params, records
from medground.cli import friendly
from medground.sources import ingest


@friendly
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    source = parser.parse_args().source
    p = params.load()
