"""What the shards of a folder say: the only thing that the card and the Croissant file are written from."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

from .. import files
from . import licences, tables
from .about import ABOUT
from .licences import Kind

YEAR = 2026
REPO = "ORG/NAME"  # in the texts of a folder, for the name under which it is published
ADDRESS = f"https://huggingface.co/datasets/{REPO}"
COUNTS = ("asked", "right", "flipped", "stayed", "kept")


class Facts:
    """What the shards say: of cases, films and questions no more than is counted; sizes and hashes of files."""

    def __init__(self, folder: Path, made_by: dict, hidden: bool) -> None:
        self.folder, self.made_by, self.hidden = folder, made_by, hidden
        self.shards: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
        for config in tables.CONFIGS:
            for shard in sorted((folder / config).glob("*.parquet")):
                self.shards[config][shard.name.split("-")[0]].append(shard)
        self.cases = [row for mode in ("direct", "reasoning") for row in self.rows(mode, ["benchmark", "pair"])]
        self.films = self.rows("films", ["film"])
        self.questions = self.rows("questions", ["source", "patient_id"])
        self.results = self.rows("results")
        self.models = self.rows("models")
        self.about = files.read_json(folder / ABOUT, dict)
        self.links = self.about.get("links", {})
        self.retention = self.rows("retention")
        self.board = {split: self.rows("baselines", split=split) for split in self.shards["baselines"]}
        self.sources = sorted({row["source"] for row in self.retention})
        self.total = {name: sum(row[name] for row in self.retention) for name in COUNTS}

    def rows(self, config: str, columns: list[str] | None = None, split: str | None = None) -> list[dict]:
        """The rows of a config, or of one of its splits."""
        found = [shard for name, shards in self.shards[config].items() if split in (None, name) for shard in shards]
        return [row for shard in found for row in tables.read_shard(shard, columns).to_pylist()]

    def counts(self, *by: str) -> list[dict]:
        """The filter's counts for each value of the columns ``by``, and the share of the right that was kept."""
        sums: dict[tuple, dict] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
        for row in self.retention:
            for name in COUNTS:
                sums[tuple(row[column] or "" for column in by)][name] += row[name]
        return [
            dict(zip(by, key, strict=True)) | count | {"kept of right": share(count["kept"], count["right"])}
            for key, count in sorted(sums.items())
        ]

    @property
    def benchmark(self) -> list[dict]:
        """The cases that an entry to the board explains."""
        return [case for case in self.cases if case["benchmark"]]

    @property
    def taught(self) -> bool:
        """Whether some models were taught other causes than the finding."""
        return any(row["control"] not in ("honest", None) for row in self.retention)

    @property
    def phantom(self) -> bool:
        """The sources whose films are rendered here."""
        return any(name.startswith("phantom") for name in self.sources)

    @property
    def restricted(self) -> list[str]:
        """The sources whose pixels may not leave."""
        return [name for name in self.sources if not licences.may_leave(name, Kind.PIXELS)]

    @property
    def version(self) -> str:
        """Twelve hex digits that change with the bytes of any shard."""
        shards = sorted(shard for splits in self.shards.values() for found in splits.values() for shard in found)
        digests = [f"{path.relative_to(self.folder)} {_sha256(path)}" for path in shards]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:12]

    @property
    def citation(self) -> str:
        """BibTeX of this version."""
        return (
            "@misc{medground,\n  title = {MedGround: a causally verified benchmark of visual attribution for chest "
            f"X-ray models}},\n  author = {{The MedGround authors}},\n  year = {{{YEAR}}},\n  version = "
            f"{{{self.version}}},\n  url = {{{ADDRESS}}}\n}}"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def share(part: int, whole: int) -> str:
    """A part of a whole in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else "-"
