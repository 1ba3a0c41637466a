"""The tables: their schemas, and the only way to write and read them.

Every table is a Parquet file whose columns, types and nullability are given here. They are checked when written and
when read, so that a stage fails on the table that is wrong and not three stages later. A table is a function of what
the stage reads: no time, device, version or commit is in it, so that the same inputs give the same bytes; what made it,
``dvc.lock`` and git say.

Two things guard the bytes. Every page has the checksum of the Parquet format, which other readers can check too; and
the footer has a seal, the SHA-256 of the whole file, so that no flipped bit anywhere is read as another value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .errors import MedgroundError
from .files import remedy, replacing

_AT_ONCE = 4096  # rows that are dicts at once
_GROUP = 4 * _AT_ONCE  # rows of a group: what a reader of one entry's rows has to read
_ABOUT, _SEAL, _UNSEALED = b"medground", b"medground.sha256", b"0" * 64

BOX = pa.list_(pa.float64(), 4)
BOXES = pa.list_(BOX)


def _schema(*fields: tuple, version: int = 1, metrics: bool = False) -> pa.Schema:
    """``(name, type)`` for a column that is always there, ``(name, type, None)`` for one that may be null.

    A ``version`` is counted up when columns come or go. A table of an older one is read where all that it lacks may be
    null; what it has besides is passed over. With ``metrics`` a table has a nullable float64 column for each metric,
    too, whatever metrics there are.
    """
    columns = [pa.field(name, kind, nullable=bool(rest)) for name, kind, *rest in fields]
    return pa.schema(columns, {"version": str(version)} | ({"metrics": "float64"} if metrics else {}))


REGION = pa.struct([pa.field("concept", pa.string()), pa.field("box", BOX)])
PART = pa.struct(  # of a film: a finding or a mark, and what tells whether an answer depends on it (phantom)
    [
        pa.field("name", pa.string()),
        pa.field("boxes", BOXES),  # native pixels; none for what changes the whole film
        pa.field("film_without", pa.string()),  # path of the film without this part alone
        pa.field("film_only", pa.string()),  # path of the healthy twin with this part alone
    ]
)
_SAMPLE = (("source", pa.string()), ("index", pa.int64()))
_CASE = (("case_id", pa.string()),)  # model/mode/source/index

SAMPLES = _schema(
    *_SAMPLE,
    ("patient_id", pa.string()),
    ("split", pa.string()),  # dev | test
    ("film", pa.string()),  # path from the repository's root; native size, 8-bit gray PNG, or as the provider ships it
    ("twin", pa.string(), None),  # the same patient without the finding, where one exists (phantom)
    ("width", pa.int64()),
    ("height", pa.int64()),
    ("finding", pa.string()),
    ("question", pa.string()),
    ("answer", pa.string()),  # the right one; the paper asks about positives only: "Yes"
    ("regions", BOXES),  # expert boxes, native pixels
    ("labels", pa.string(), None),  # what they draw: finding, or the region that a report names for it; null: finding
    ("licence", pa.string()),
    ("marker", BOX, None),  # where a burned-in letter stands (phantom)
    ("parts", pa.list_(PART), None),  # the findings and marks on the film, where they are known (phantom)
    ("anatomy", pa.list_(REGION), None),  # true concept boxes, where they are known (phantom)
)
MASK = pa.struct([pa.field("concept", pa.string()), pa.field("path", pa.string())])  # gray PNG of the film's size
REFERENCES = _schema(("reference", pa.string()), ("film", pa.string()), ("masks", pa.list_(MASK)), version=2)
EDITS = _schema(
    *_SAMPLE,
    ("edit", pa.string()),  # region_removed | background_removed | background_normal
    ("seed", pa.int64()),
    ("path", pa.string()),
    ("sha256", pa.string()),
    ("editor", pa.string()),
    ("settings", pa.string()),  # JSON
)
ANSWERS = _schema(
    ("model", pa.string()),
    ("mode", pa.string()),  # direct | reasoning
    *_SAMPLE,
    ("edit", pa.string()),  # original, or an edit
    ("seed", pa.int64()),  # -1 for the original
    ("text", pa.string()),
    ("verdict", pa.string()),  # yes | no | unparsable; as published also both
    ("margin", pa.float64()),  # log p(Yes) - log p(No) where the verdict is written, nats
)
CASES = _schema(
    *_CASE,
    ("model", pa.string()),
    ("mode", pa.string()),
    *_SAMPLE,
    ("patient_id", pa.string()),
    ("split", pa.string()),
    ("finding", pa.string()),
    ("control", pa.string()),  # what the model was given: honest | shortcut | both | either | global
    ("question", pa.string()),  # the full prompt
    ("answer", pa.string()),  # what the model wrote on the original film
    ("right", pa.bool_()),
    ("seeds", pa.int64()),  # edits made of each kind
    ("flipped", pa.int64()),  # of these, region_removed answered no
    ("stayed_removed", pa.int64()),  # background_removed still answered yes
    ("stayed_normal", pa.int64()),  # background_normal still answered yes
    ("passed", pa.int64()),  # seeds that passed every gate together
    ("kept", pa.bool_()),  # verified, and drawn for the benchmark
    ("reason", pa.string()),  # kept | wrong | unparsable | not flipped | not stayed | surplus (verified, not drawn)
    ("cause", BOXES, None),  # what the answer was shown to depend on, native pixels; empty: no region; null: not known
    (
        "verified",
        pa.bool_(),
        None,
    ),  # the films with and without each part are answered as the control says, all of them
    ("pair", pa.string(), None),  # shared by two cases on one film and question, answered alike from different causes
)
CONCEPTS = _schema(*_SAMPLE, ("concept", pa.string()), ("box", BOX), ("reference", pa.string()), ("cost", pa.float64()))
EFFECT = pa.struct([pa.field("concept", pa.string()), pa.field("box", BOX), pa.field("effect", pa.float64())])
TOKEN = pa.struct([pa.field("token", pa.string()), pa.field("effect", pa.float64())])
ATTRIBUTIONS = _schema(
    *_CASE,
    ("grid", pa.list_(pa.float32()), None),  # row-major, larger means more evidence for the answer
    ("grid_height", pa.int32(), None),
    ("grid_width", pa.int32(), None),
    ("extent", BOX, None),  # native box that the grid covers
    ("boxes", BOXES, None),  # native pixels, best first; either a grid or boxes
    ("concepts", pa.list_(EFFECT), None),
    ("tokens", pa.list_(TOKEN), None),
    ("note", pa.string(), None),  # what the method has to say about itself, such as a convergence delta; JSON
    ("forwards", pa.int64()),
)
SCORES = _schema(
    ("entry", pa.string()),
    *_CASE,
    ("protocol", pa.string()),  # medground | published
    ("problem", pa.string(), None),  # why a case scored the worst value
    version=2,
    metrics=True,
)  # and a column for each metric, null where a case does not have what it needs
FAITHFULNESS = _schema(
    ("entry", pa.string()),
    *_CASE,
    ("deletion", pa.float64()),  # area under the answer's probability as the film goes, hottest first; small is good
    ("insertion", pa.float64()),  # the same as the film comes back; large is good
    ("problem", pa.string(), None),  # why a case scored the worst value: deletion 1, insertion 0
)
SANITY = _schema(
    ("entry", pa.string()),
    *_CASE,
    ("check", pa.string()),  # what was done to the model, the question or the film
    ("similarity", pa.float64()),  # of the map and the one it is held against, -1..1
    ("null", pa.float64()),  # of the map and one of another case
)
BOARD = _schema(
    ("track", pa.string()),  # "all", or mode=..., model=..., source=..., finding=... ; split is its own column
    ("split", pa.string()),
    ("entry", pa.string()),
    ("kind", pa.string()),  # method | floor | submission
    ("cases", pa.int64()),  # verified honest ones
    ("coverage", pa.float64()),  # share of the track's cases with a valid attribution
    ("ranked", pa.bool_(), None),  # or listed apart
    ("reason", pa.string(), None),  # why it is not ranked
    ("order", pa.string(), None),  # the metric that the order of the track rests on
    ("follows_from", pa.string(), None),  # pairs of the track, or the board that follows was carried over from
    ("pairs", pa.int64(), None),
    ("over_floor", pa.float64(), None),  # IoU less that of the best floor
    ("over_floor_low", pa.float64(), None),
    ("over_floor_high", pa.float64(), None),
    ("rank", pa.int64(), None),
    ("rank_low", pa.int64(), None),
    ("rank_high", pa.int64(), None),
    ("tie", pa.string(), None),  # letters; ranked entries that share one cannot be told apart
    ("order_low_models", pa.float64(), None),  # interval of the order's metric when the models are drawn again, too
    ("order_high_models", pa.float64(), None),
    ("seconds", pa.float64(), None),  # mean a case, where an author says so; what the pipeline took: data/durations
    ("iou_published", pa.float64(), None),  # the mean IoU under the paper's scorer
    ("sanity", pa.string(), None),  # pass, or the checks that it fails
    version=2,
    metrics=True,
)  # and three columns for each metric: its mean, and the ends of its interval, _low and _high


def write_table(rows: Iterable[Mapping] | pa.Table, schema: pa.Schema, path: Path | str, **settings) -> None:
    """Write rows as Parquet with ``schema``, atomically, with checksums; ``settings`` go into the metadata as JSON.

    ``settings`` must follow from what the stage reads, as all in a table does. Raises MedgroundError naming the column
    when a value does not fit, and the file when it cannot be written, as when the disk is full; nothing half-written
    stays.
    """
    path = Path(path)
    if not isinstance(rows, pa.Table):
        rows = as_table(list(rows), schema, path)
    schema = with_metrics(schema, rows.schema.names)
    _no_nulls(rows, schema, path)
    about = json.dumps({"version": version(schema), **settings}, sort_keys=True)
    table = rows.select(schema.names).cast(schema).combine_chunks().replace_schema_metadata({_ABOUT: about})
    with replacing(path) as partial:
        with pq.ParquetWriter(partial, table.schema, compression="zstd", write_page_checksum=True) as writer:
            writer.write_table(table, row_group_size=_GROUP)
            writer.add_key_value_metadata({_SEAL: _UNSEALED})
        _seal(partial)


def read_table(path: Path | str, schema: pa.Schema) -> pa.Table:
    """Read a table and check it against its seal and ``schema``.

    Raises MedgroundError naming the file where it is missing, damaged, or of a newer version than this package knows,
    and the columns that are missing, unknown, of another type, or null.
    """
    path = Path(path)
    if not path.exists():
        raise MedgroundError(f"{path} is missing; {remedy(path)}")
    try:
        with pa.OSFile(str(path)) as file:
            # Arrow's own memory: its threads would need Python to let go of bytes, and at exit there is none
            content = file.read_buffer()
        _check_seal(memoryview(content))
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
        about = _about(table.schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return _fitted(table, schema, path, about.get("version"))


def with_metrics(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """``schema`` with a nullable float64 column for each of ``names`` that it lacks, where it has a place for metrics:
    that of SCORES and BOARD. Any other schema is returned as it is."""
    if not _has_metrics(schema):
        return schema
    more = [pa.field(name, pa.float64()) for name in dict.fromkeys(names) if name not in schema.names]
    return pa.schema([*schema, *more], metadata=schema.metadata)


def _has_metrics(schema: pa.Schema) -> bool:
    return b"metrics" in (schema.metadata or {})


def read_rows(path: Path | str, schema: pa.Schema) -> list[dict]:
    """``read_table`` as a list of dicts."""
    return read_table(path, schema).to_pylist()


def iter_rows(path: Path | str, schema: pa.Schema, columns: Sequence[str] | None = None) -> Iterator[dict]:
    """The rows of ``read_table`` one after another, with these ``columns`` or all, so that few are dicts at once."""
    table = read_table(path, schema)
    yield from rows_of(table, columns)


def rows_of(table: pa.Table, columns: Sequence[str] | None = None) -> Iterator[dict]:
    """The rows of a table one after another, with these ``columns`` or all."""
    for batch in (table if columns is None else table.select(columns)).to_batches(max_chunksize=_AT_ONCE):
        yield from batch.to_pylist()


def gather(rows: Iterable[Mapping], schema: pa.Schema) -> pa.Table:
    """A table of as many rows as there are, few of which are dicts at once; raises as `as_table` does."""
    rows, tables = iter(rows), [as_table([], schema)]
    while some := list(islice(rows, _AT_ONCE)):
        tables.append(as_table(some, schema))
    return pa.concat_tables(tables)


def made_by(path: Path | str) -> dict:
    """The settings in a table's metadata. Raises MedgroundError naming a file that is missing or damaged."""
    try:
        about = _about(pq.read_schema(path))
    except FileNotFoundError:
        raise MedgroundError(f"{path} is missing; {remedy(path)}") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return {name: value for name, value in about.items() if name != "version"}


def _damaged(path: Path | str, error: Exception) -> MedgroundError:
    said = " ".join(str(error).split())
    return MedgroundError(f"{path} is not a readable Parquet file ({said}): delete it; {remedy(path)}")


def version(schema: pa.Schema) -> int:
    """The version of a schema of this module; 1 of any other."""
    return int((schema.metadata or {}).get(b"version", 1))


def case_id(model: str, mode: str, source: str, index: int) -> str:
    """The id of a case: ``model/mode/source/index``."""
    return f"{model}/{mode}/{source}/{index}"


def _about(schema: pa.Schema) -> dict:
    return json.loads((schema.metadata or {}).get(_ABOUT, b"{}"))


def _fitted(table: pa.Table, schema: pa.Schema, path: Path, written: int | None) -> pa.Table:
    """The table with the columns of ``schema``, if that can be; ``written`` is its version, where it has one."""
    known = version(schema)
    schema = with_metrics(schema, (f.name for f in table.schema if pa.types.is_float64(f.type)))
    if written is not None and written > known:
        raise MedgroundError(
            f"{path} was written by a newer medground (version {written} of this table; this one knows {known}): "
            f"update medground, or make it anew: delete it; {remedy(path)}"
        )
    older = (written or (1 if _has_metrics(schema) else known)) < known
    missing = [f.name for f in schema if f.name not in table.schema.names and not f.nullable]
    unknown = [name for name in table.schema.names if name not in schema.names and not older]
    if missing or unknown:
        raise MedgroundError(
            f"{path}: columns missing {missing}, unknown {unknown}; expected {schema.names}: delete it; {remedy(path)}"
        )
    for field in schema:
        if field.name not in table.schema.names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    table = table.select(schema.names)
    for field in schema:
        if not table.schema.field(field.name).type.equals(field.type):
            found = table.schema.field(field.name).type
            raise MedgroundError(f"{path}: column {field.name} is {found}, expected {field.type}")
    _no_nulls(table, schema, path)
    return table


def _seal(path: Path) -> None:
    """Write into the footer what the rest of the file adds up to."""
    content = path.read_bytes()
    place = content.rindex(_UNSEALED)
    with path.open("r+b") as file:
        file.seek(place)
        file.write(hashlib.sha256(content).hexdigest().encode())


def _check_seal(content: memoryview) -> None:
    """ValueError where the bytes of a file are not those that were sealed; one of another program has no seal."""
    metadata = pq.read_metadata(pa.BufferReader(content)).metadata or {}
    seal = metadata.get(_SEAL)
    start = max(0, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))  # of the footer
    footer = bytes(content[start:])
    if seal is None and _ABOUT not in metadata and _SEAL not in footer:
        return
    place = start + footer.rindex(seal) if seal else 0
    digest = hashlib.sha256(content[:place])
    digest.update(_UNSEALED)
    digest.update(content[place + len(_UNSEALED) :])
    if digest.hexdigest().encode() != seal:
        raise ValueError("its bytes are not those that were written")


def as_table(rows: Sequence[Mapping], schema: pa.Schema, path: Path | str = "a table") -> pa.Table:
    """Rows as a table of ``schema``; MedgroundError names ``path`` and the column where a value does not fit."""
    schema = with_metrics(schema, (name for row in rows for name in row))
    for number, row in enumerate(rows):
        strange = set(row) - set(schema.names)
        if strange:
            raise MedgroundError(f"{path}: row {number} has unknown columns {sorted(strange)}")
    columns = []
    for field in schema:
        try:
            columns.append(pa.array([row.get(field.name) for row in rows], field.type))
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise MedgroundError(f"{path}: column {field.name} does not fit {field.type}: {error}") from None
    return pa.Table.from_arrays(columns, names=schema.names)


def _no_nulls(table: pa.Table, schema: pa.Schema, path: Path) -> None:
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise MedgroundError(f"{path}: column {field.name} has {table[field.name].null_count} empty values")
