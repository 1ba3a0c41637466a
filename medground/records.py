"""The tables: their schemas, and the only way to write and read them.

Every table is a Parquet file whose columns, types and nullability are given here. They are checked when written and
when read, so that a stage fails on the table that is wrong and not three stages later. What made a table (package
version, git commit, settings) is kept in the file's metadata under the key ``medground``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .errors import MedgroundError

BOX = pa.list_(pa.float64(), 4)
BOXES = pa.list_(BOX)


def _schema(*fields: tuple) -> pa.Schema:
    """``(name, type)`` for a column that is always there, ``(name, type, None)`` for one that may be null."""
    return pa.schema([pa.field(name, kind, nullable=bool(rest)) for name, kind, *rest in fields])


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
    ("licence", pa.string()),
    ("marker", BOX, None),  # where a burned-in letter stands (phantom)
    ("parts", pa.list_(PART), None),  # the findings and marks on the film, where they are known (phantom)
    ("anatomy", pa.list_(REGION), None),  # true concept boxes, where they are known (phantom)
)
REFERENCES = _schema(("reference", pa.string()), ("film", pa.string()), ("masks", pa.string()))  # film PNG, masks npz
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
    ("verdict", pa.string()),  # yes | no | unparsable
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
    ("control", pa.string()),  # honest | shortcut
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
    ("seconds", pa.float64()),
    ("forwards", pa.int64()),
)
SCORES = _schema(
    ("entry", pa.string()),
    *_CASE,
    ("protocol", pa.string()),  # medground | paper
    ("iou", pa.float64()),
    ("f1", pa.float64()),
    ("precision", pa.float64()),
    ("recall", pa.float64()),
    ("hit", pa.float64()),  # pointing game: 1, 0, or the share of tied maxima that hit
    ("energy", pa.float64()),  # share of the positive evidence inside the regions
    ("average_precision", pa.float64()),
    ("problem", pa.string(), None),  # why a case scored the worst value
)
FAITHFULNESS = _schema(
    ("entry", pa.string()),
    *_CASE,
    ("deletion", pa.float64()),  # area under the answer's probability as the film goes, hottest first; small is good
    ("insertion", pa.float64()),  # the same as the blurred film becomes sharp again; large is good
    ("problem", pa.string(), None),  # why a case scored the worst value: deletion 1, insertion 0
)
BOARD = _schema(
    ("track", pa.string()),  # "all", or mode=..., model=..., source=..., finding=... ; split is its own column
    ("split", pa.string()),
    ("entry", pa.string()),
    ("kind", pa.string()),  # method | floor | submission
    ("cases", pa.int64()),
    ("coverage", pa.float64()),  # share of the track's cases with a valid attribution
    ("iou", pa.float64()),
    ("iou_low", pa.float64()),
    ("iou_high", pa.float64()),
    ("f1", pa.float64()),
    ("precision", pa.float64()),
    ("recall", pa.float64()),
    ("hit", pa.float64()),
    ("energy", pa.float64()),
    ("average_precision", pa.float64()),
    ("rank", pa.int64()),
    ("rank_low", pa.int64()),
    ("rank_high", pa.int64()),
    ("tie", pa.string()),  # letters; entries that share one cannot be told apart
    ("seconds", pa.float64(), None),  # mean a case
    ("iou_published", pa.float64(), None),  # the same mean under the paper's scorer
    ("measured", pa.int64()),  # of the cases, those on which deletion and insertion were measured; without any: null
    ("deletion", pa.float64(), None),
    ("deletion_low", pa.float64(), None),
    ("deletion_high", pa.float64(), None),
    ("insertion", pa.float64(), None),
    ("insertion_low", pa.float64(), None),
    ("insertion_high", pa.float64(), None),
)


def write_table(rows: Iterable[Mapping] | pa.Table, schema: pa.Schema, path: Path | str, **made_by) -> None:
    """Write rows as Parquet with ``schema``, atomically; ``made_by`` goes into the metadata as JSON.

    Raises MedgroundError naming the column when a value does not fit, and the file when it cannot be written, as when
    the disk is full; nothing half-written stays.
    """
    path = Path(path)
    if not isinstance(rows, pa.Table):
        rows = _checked(list(rows), schema, path)
    _no_nulls(rows, schema, path)
    table = rows.cast(schema).replace_schema_metadata({"medground": json.dumps(made_by, sort_keys=True)})
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, partial, compression="zstd")
        os.replace(partial, path)
    except OSError as error:
        raise MedgroundError(f"{path} cannot be written ({error}); make room and run the same command again") from None
    finally:
        partial.unlink(missing_ok=True)


def read_table(path: Path | str, schema: pa.Schema) -> pa.Table:
    """Read a table and check it against ``schema``.

    Raises MedgroundError naming the file and the columns that are missing, unknown, of another type, or null.
    """
    path = Path(path)
    if not path.exists():
        raise MedgroundError(f"{path} is missing; run `dvc repro` to make it, or `dvc pull` to fetch it")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise MedgroundError(f"{path} is not a readable Parquet file ({error}); delete it, run `dvc repro`") from None
    for field in schema:
        if field.nullable and field.name not in table.schema.names:  # a table from before the column was there
            table = table.append_column(field, pa.nulls(len(table), field.type))
    missing = [name for name in schema.names if name not in table.schema.names]
    unknown = [name for name in table.schema.names if name not in schema.names]
    if missing or unknown:
        raise MedgroundError(f"{path}: columns missing {missing}, unknown {unknown}; expected {schema.names}")
    table = table.select(schema.names)
    for field in schema:
        if not table.schema.field(field.name).type.equals(field.type):
            found = table.schema.field(field.name).type
            raise MedgroundError(f"{path}: column {field.name} is {found}, expected {field.type}")
    _no_nulls(table, schema, path)
    return table


def read_rows(path: Path | str, schema: pa.Schema) -> list[dict]:
    """``read_table`` as a list of dicts."""
    return read_table(path, schema).to_pylist()


def made_by(path: Path | str) -> dict:
    """What a table's metadata says about how it was made."""
    return json.loads((pq.read_schema(path).metadata or {}).get(b"medground", b"{}"))


def case_id(model: str, mode: str, source: str, index: int) -> str:
    """The id of a case: ``model/mode/source/index``."""
    return f"{model}/{mode}/{source}/{index}"


def _checked(rows: list[Mapping], schema: pa.Schema, path: Path) -> pa.Table:
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
