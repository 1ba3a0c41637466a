"""Join the films that may not be published from one's own licensed copy, by name and hash."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import MedgroundError
from .licences import Kind, may_leave, source

JOINED = pa.schema(
    [
        pa.field("source", pa.string(), False),
        pa.field("film", pa.string(), False),  # the key in the dataset's case tables
        pa.field("state", pa.string(), False),  # found | missing | changed
        pa.field("path", pa.string()),  # in one's own copy
        pa.field("sha256", pa.string(), False),  # of the provider's file, as it was when the benchmark was made
    ]
)


def wanted(dataset: str, name: str) -> list[dict]:
    """The films of a source in a dataset, a folder, or ``ORG/NAME[@TAG]`` on the Hub: rows of source, film, sha256.

    Raises MedgroundError for a source whose films are in the dataset, or that the dataset does not have.
    """
    if may_leave(name, Kind.PIXELS):
        raise MedgroundError(f"the films of {name} are in the dataset itself: load_dataset({dataset!r}, 'films')")
    folder = Path(dataset) if Path(dataset).is_dir() else _download(dataset)
    shards = sorted(folder.glob("films/*.parquet"))
    if not shards:
        raise MedgroundError(f"{dataset} has no films/*.parquet; give an exported folder or a dataset on the Hub")
    rows = [row for shard in shards for row in pq.read_table(shard, columns=["source", "film", "sha256"]).to_pylist()]
    sources = sorted({row["source"] for row in rows})
    rows = [row for row in rows if row["source"] == name]
    if not rows:
        raise MedgroundError(f"{dataset} has no films of {name}; it has those of {', '.join(sources)}")
    return rows


def join(films: Iterable[dict], data_root: Path | str) -> list[dict]:
    """Look for every film under ``data_root``: rows of `JOINED`, in the order of ``films``.

    A film is a file of that name with any ending in any folder. It is ``found`` where one has the right sha256,
    ``changed`` where all have another, ``missing`` where there is none.
    """
    films = list(films)
    places = _places({film["film"] for film in films}, Path(data_root))
    return [_joined(film, places[film["film"]]) for film in films]


def write(rows: list[dict], path: Path | str) -> None:
    """Write joined films as Parquet."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, JOINED), path, compression="zstd")


def report(rows: list[dict], name: str, shown: int = 10) -> str:
    """How many films were found, which were not, and where to get them."""
    lost = [row for row in rows if row["state"] != "found"]
    lines = [f"{name}: {len(rows) - len(lost)} of {len(rows)} films found, with the right hash"]
    lines += [f"  {row['state']}: {row['film']}" + (f" ({row['path']})" if row["path"] else "") for row in lost[:shown]]
    if len(lost) > shown:
        lines.append(f"  and {len(lost) - shown} more")
    if lost:
        lines.append(f"get them as their provider ships them: {source(name).obtain}")
    return "\n".join(lines)


def _places(names: set[str], root: Path) -> dict[str, list[Path]]:
    """Where files of these names lie below a folder."""
    if not root.is_dir():
        raise MedgroundError(f"{root} is not a folder; --data-root is where your copy of the source lies")
    places: dict[str, list[Path]] = defaultdict(list)
    for folder, _, files in os.walk(root):
        for file in files:
            name = file.split(".")[0]
            if name in names:
                places[name].append(Path(folder) / file)
    return places


def _joined(film: dict, places: list[Path]) -> dict:
    hashes = {path: _sha256(path) for path in sorted(places)}
    path = next((path for path, digest in hashes.items() if digest == film["sha256"]), None)
    state = "found" if path else "changed" if hashes else "missing"
    return {**film, "state": state, "path": str(path or next(iter(hashes), "")) or None}


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(repo: str) -> Path:
    from huggingface_hub import snapshot_download  # not needed for a folder

    from .push import explained

    repo, _, tag = repo.partition("@")
    with explained(repo, needs_token=False):
        return Path(
            snapshot_download(repo, repo_type="dataset", revision=tag or None, allow_patterns=["films/*.parquet"])
        )
