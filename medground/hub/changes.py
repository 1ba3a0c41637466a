"""What another version of the dataset changes in rows and in scores, and not only in files."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from . import tables

#: Configs whose rows are compared: what names a row, and the numbers whose changes are told one by one.
COMPARED = {
    "direct": (("case_id",), ()),
    "reasoning": (("case_id",), ()),
    "results": (("model", "mode", "split", "finding"), ("accuracy", "grounded")),
    "baselines": (("track", "split", "entry"), ("follows", "iou_at_area")),
}
SHOWN = 10  # numbers that are told of a config


def told(folder: Path, repo: str, commit: str, changed: Sequence[str]) -> list[str]:
    """A line for each config of which shards have ``changed`` since a commit, and for its numbers that moved."""
    configs = sorted({path.split("/")[0] for path in changed} & set(COMPARED))
    if not configs:
        return []
    with tempfile.TemporaryDirectory() as download:
        wanted = [f"{config}/*.parquet" for config in configs]
        snapshot_download(repo, repo_type="dataset", revision=commit, local_dir=download, allow_patterns=wanted)
        return [line for config in configs for line in between(Path(download), folder, config)]


def between(old: Path, new: Path, config: str) -> Iterator[str]:
    """What differs between a config of two folders, in words."""
    key, numbers = COMPARED[config]
    before, after = (_rows(folder, config, key) for folder in (old, new))
    both = [name for name in after if name in before]
    columns: Counter[str] = Counter()
    rows = 0
    for name in both:
        other = [column for column, value in after[name].items() if before[name].get(column) != value]
        columns.update(other)
        rows += bool(other)
    more, gone = len(after) - len(both), len(before) - len(both)
    which = ", ".join(f"{column} {count}" for column, count in columns.most_common(6))
    yield f"  {config}: {more:,} rows more, {gone:,} gone, {rows:,} changed" + (f" ({which})" if which else "")
    moved = [
        (name, number)
        for name in both
        for number in numbers
        if before[name].get(number) != after[name].get(number)
        and name[0 if config == "baselines" else 3] in ("all", None)
    ]
    for name, number in moved[:SHOWN]:
        which = ", ".join(str(part) for part in name if part not in (None, "all"))
        yield f"    {which}: {number} {_said(before[name].get(number))} -> {_said(after[name].get(number))}"
    if len(moved) > SHOWN:
        yield f"    and {len(moved) - SHOWN} more"


def _rows(folder: Path, config: str, key: Sequence[str]) -> dict[tuple, dict]:
    """The rows of a config without its pictures, by what names them; of a column that is gone, nothing."""
    names = [column.name for column in tables.CONFIGS[config] if column.type != tables.IMAGE]
    found = {}
    for shard in sorted((folder / config).glob("*.parquet")):
        table = tables.read_shard(shard)
        for row in table.select([name for name in names if name in table.schema.names]).to_pylist():
            found[tuple(row.get(name) for name in key)] = row
    return found


def _said(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else "nothing" if value is None else str(value)
