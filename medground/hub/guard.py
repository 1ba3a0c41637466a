"""The licence guard: opens every file of a folder that is about to leave, and refuses what no declaration allows.

What it holds a folder to:

- Files: those that `folder.build` writes, plain ones, no links.
- Shards: byte for byte what `tables.write_rows` makes of their rows. So a shard holds nothing besides its rows: no
  other column, no metadata of its own, nothing between its pages or before its footer.
- Rows: every column of every row group is empty where the row's source does not let its kind leave; and where a source
  does not let pixels leave, keys have the form of keys (`_FORMS`), and no value looks like an image, a path, encoded
  bytes or a long text.
- Records in the paper's format: yes or no where a source lets no text leave.
- Texts: UTF-8, of a bounded size, without encoded bytes.

It is a belt against mistakes: of whoever exports, of a source that is added, of a change of the code. It cannot see
what a hand hides that means to: a word that is a code, numbers that mean something else, films under the name of a
source that is free.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .. import folders
from .about import ABOUT, EVAL
from .licences import NO_CONTENT, Kind, LicenceError, declared, may_leave
from .licences import source as declaration
from .tables import CONFIGS, write_rows

RECORDS = ("direct.json", "reasoning.json")  # the paper's format
TEXTS = ("README.md", "LICENSE.md", "croissant.json", ABOUT, EVAL)
RECORD_KEYS = {"model", "dataset", "index", "answer"}  # of a restricted source, besides predictions of yes or no
LARGEST_TEXT = 4 << 20  # bytes of a card or a description
LONGEST = 200  # characters of a key, a licence's name or an address

_IMAGE = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8[79]a|II\*\x00|MM\x00\*|DICM|\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51"
    rb"|RIFF....WEBP|BM.{4}\x00{4}|\x1f\x8b\x08|PK\x03\x04|\x93NUMPY",
    re.DOTALL,
)
_ENCODED_IMAGE = re.compile(r"iVBORw0KGgo|/9j/[0-9A-Za-z+/]{8}|R0lGOD|SUkqA|TU0AK|data:image/")
_ENCODED = re.compile(r"[0-9A-Za-z+/=_-]{100,}")  # longer than any key, hash or address is without a dot or a colon
_FORMS = {  # of keys, in rows of sources whose pixels may not leave
    "case_id": r"[\w.-]{1,100}/(direct|reasoning)/\w{1,40}/\d{1,9}",
    "model": r"[\w./-]{1,100}",
    "revision": r"(?:sha256:)?[\w. -]{1,64}",  # of the Hub, or the digest of a checkpoint on disk
    "mode": r"direct|reasoning",
    "split": r"dev|test|all",
    "control": r"[\w -]{1,40}",
    "pair": r"[0-9a-f]{12}",
    "film": r"[\w-]{1,80}",
    "patient_id": r"[\w.-]{1,80}",
    "sha256": r"[0-9a-f]{64}",
}
_PATH = re.compile(
    r"\.(png|jpe?g|dcm|dicom|tiff?|bmp|gif|webp|jp2|npy|npz|nii)\b|^[/~]|\\|^[A-Za-z]:|(^|/)\.\.?(/|$)|file:|(^|/)data/",
    re.IGNORECASE,
)


def check(folder: Path | str) -> None:
    """Raise LicenceError with every offending file and column; return where all of the folder may leave."""
    folder = Path(folder)
    problems = []
    named = _named_findings(folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()):
        name = path.relative_to(folder).as_posix()
        try:
            found = _file(path, name, folder, named)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            found = [f"cannot be read ({type(error).__name__}: {error})"]
        problems += [f"{name}: {problem}" for problem in found]
    if problems:
        raise LicenceError(
            "this may not leave:\n  " + "\n  ".join(problems) + "\nwhat may leave is declared where each source "
            "is registered; `medground export` makes a folder that keeps to it"
        )


def _file(path: Path, name: str, folder: Path, named: set[str]) -> list[str]:
    if path.is_symlink() or not path.is_file():
        return ["a link or a device; only plain files leave"]
    if name == folders.MARK:
        ours = path.read_bytes() == folders.mark(folder, "medground export")
        return [] if ours else ["is not what `medground export` wrote"]
    if path.suffix == ".parquet":
        return _shard(path, named)
    if name in RECORDS:
        return _records(path)
    return _text(path) if name in TEXTS else ["a file that no table declares"]


def _text(path: Path) -> list[str]:
    if path.stat().st_size > LARGEST_TEXT:
        return [f"has more than {LARGEST_TEXT:,} bytes"]
    text = path.read_text(encoding="utf-8")
    if _ENCODED_IMAGE.search(text):
        return ["holds an image"]
    return ["holds encoded bytes"] if _ENCODED.search(text) else []


def encoded(text: str) -> bool:
    """Whether a text holds an image or other bytes, encoded as letters."""
    return bool(_ENCODED_IMAGE.search(text) or _ENCODED.search(text))


def _named_findings(folder: Path) -> set[str]:
    """The findings that case tables name, which is where their sources allow it."""
    named = set()
    for shard in (
        shard for config in ("direct", "reasoning", "questions") for shard in folder.glob(f"{config}/*.parquet")
    ):
        try:
            named |= set(pq.read_table(shard, columns=["finding"])["finding"].to_pylist())
        except (pa.ArrowException, OSError, ValueError, KeyError):
            continue  # it names none, and is refused itself
    return named - {None}


def _shard(path: Path, named: set[str]) -> list[str]:
    config = path.parent.name
    if config not in CONFIGS:
        return [f"{config} is not a declared config"]
    kinds = {column.name: column.kind for column in CONFIGS[config]}
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        problems = [f"metadata key {key.decode()}" for key in file.metadata.metadata or {} if key not in _METADATA]
        problems += [f"column {name} is not declared" for name in file.schema_arrow.names if name not in kinds]
        if problems:
            return problems
        if not file.schema_arrow.equals(_as_read(config), check_metadata=True):
            return ["its columns, types or metadata are not those of the config"]
        rows: dict[str, int] = {}  # problem: rows
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            for problem, count in _by_source(table, kinds) if "source" in kinds else _aggregates(table, kinds, named):
                rows[problem] = rows.get(problem, 0) + count
        if not rows and not _as_written(file, path, config):
            return ["holds bytes besides its rows; only what the export writes leaves"]
    return [f"{problem} ({count} rows)" for problem, count in rows.items()]


_METADATA = (b"huggingface", b"ARROW:schema")


def _as_read(config: str) -> pa.Schema:
    """The schema of a config's shards, as a reader sees it."""
    shard = pa.BufferOutputStream()
    write_rows([], config, shard)
    return pq.read_schema(pa.BufferReader(shard.getvalue()))


def _as_written(file: pq.ParquetFile, path: Path, config: str) -> bool:
    """Whether a shard is byte for byte what the export makes of its rows."""
    rows = (row for group in range(file.num_row_groups) for row in file.read_row_group(group).to_pylist())
    with path.open("rb") as content:
        compared = _Compared(content)
        write_rows(rows, config, compared)
        return compared.same and not content.read(1)


class _Compared(io.RawIOBase):
    """Takes what is written, and holds it against the bytes of a file: neither is ever held whole."""

    def __init__(self, content: io.BufferedReader) -> None:
        self.content, self.same = content, True

    def writable(self) -> bool:
        return True

    def write(self, some) -> int:
        self.same = self.same and self.content.read(len(some)) == bytes(some)
        return len(some)


def _by_source(table: pa.Table, kinds: dict[str, Kind]) -> Iterator[tuple[str, int]]:
    for source in table["source"].unique().to_pylist():
        if not declared(source):
            yield f"column source names {source!r}, which declares nothing", table.num_rows
            continue
        allowed = declaration(source).may_leave
        theirs = table.filter(pc.equal(table["source"], source))
        for name, kind in kinds.items():
            filled = len(theirs) - theirs[name].null_count
            if filled and kind not in allowed:
                yield f"column {name} holds {kind.value} of {source}", filled
        if Kind.PIXELS not in allowed:
            for name in (name for name, kind in kinds.items() if kind in allowed):
                values = theirs[name].to_pylist()
                yield from _hidden(name, source, values)
                if form := _FORMS.get(name):
                    odd = [value for value in values if isinstance(value, str) and not re.fullmatch(form, value)]
                    yield from ((f"column {name} of {source} is not of its form", 1) for _ in odd)


def _aggregates(table: pa.Table, kinds: dict[str, Kind], named: set[str]) -> Iterator[tuple[str, int]]:
    for name, kind in kinds.items():
        if kind not in NO_CONTENT:
            yield f"column {name} holds {kind.value} of no declared source", table.num_rows
        yield from _hidden(name, "no declared source", table[name].to_pylist())
    for track in table["track"].to_pylist() if "track" in kinds else ():
        finding = re.search(r"finding=([^,]*)", track)
        if finding and finding[1] not in named:
            yield f"column track names the finding {finding[1]!r}, which no case table names", 1
    for said in table["finding"].to_pylist() if "finding" in kinds else ():
        if said is not None and said not in named:
            yield f"column finding names the finding {said!r}, which no case table names", 1


def _hidden(column: str, source: str, values: list) -> Iterator[tuple[str, int]]:
    for value in values:
        if what := _content(value):
            yield f"column {column} hides {what} of {source}", 1


def _content(value: object) -> str | None:
    """What a value carries that no key, verdict, hash or number does."""
    if isinstance(value, bytes | list | dict):
        return "bytes" if isinstance(value, bytes) else "a structure"
    if not isinstance(value, str):
        return None
    if _ENCODED_IMAGE.search(value) or _IMAGE.search(value.encode("latin-1", "ignore")):
        return "an image"
    if _PATH.search(value):
        return "a file path"
    if len(value) > LONGEST:
        return "a long text"
    return "encoded bytes" if _ENCODED.search(value) else None


def _records(path: Path) -> list[str]:
    rows: dict[str, int] = {}
    records = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        return ["is not a list of records"]
    for record in records:
        for problem in _record(record):
            rows[problem] = rows.get(problem, 0) + 1
    return [f"{problem} ({count} records)" for problem, count in rows.items()]


def _record(record: dict) -> Iterator[str]:
    source = record.get("dataset")
    if not isinstance(source, str) or not declared(source):
        yield f"dataset {source!r} declares nothing"
        return
    if may_leave(source, Kind.TEXT):
        return
    for key, value in record.items():
        if key.startswith("prediction"):
            if value not in ("Yes", "No"):
                yield f"{key} holds text of {source}"
        elif key not in RECORD_KEYS:
            yield f"{key} of {source} is not declared"
        else:
            yield from (problem for problem, _ in _hidden(key, source, [value]))
            if not isinstance(value, int if key == "index" else str) or isinstance(value, bool):
                yield f"{key} of {source} is not of its type"
