"""What the stages that train a phantom model share: which model is asked for, and how it is put into ``models/``."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from .. import files, params

CT, CACHE, OUT = Path("data/raw/ct"), Path(".cache/phantom"), Path("models")


def asked(description: str | None, known: Sequence[str], what: str) -> tuple[str, params.Params]:
    """The model that the command line names, or the only one that is ``known``, and params.yaml; ``--threads`` is
    heeded.

    Raises MedgroundError for a name that is not in ``known``; ``what`` is what the message calls it.
    """
    parser = argparse.ArgumentParser(description=description)
    only = known[0] if len(known) == 1 else None
    parser.add_argument("--model", required=only is None, default=only)
    parser.add_argument("--threads", type=int, help="threads of this process; all cores if not given")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return params.choose(arguments.model, list(known), what), params.load()


def put(key: str, save: Callable[[Path], object], about: dict) -> Path:
    """Replace ``models/<key>`` by what ``save`` writes into a folder, with ``about`` as its medground.json.

    The folder is made beside it and takes its place whole, so that a killed stage leaves the old one.
    """
    partial = OUT / f".{key}"
    shutil.rmtree(partial, ignore_errors=True)
    save(partial)
    files.write_json(about, partial / "medground.json")
    shutil.rmtree(OUT / key, ignore_errors=True)
    partial.rename(OUT / key)
    return OUT / key
