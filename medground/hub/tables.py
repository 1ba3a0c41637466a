"""The published tables: every config's columns, their types, and what kind of information each holds.

The Arrow schemas carry the features as `datasets` writes them, so that a shard is typed wherever it is read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from .. import records
from ..errors import MedgroundError
from ..ranking import board_columns
from .licences import Kind

ROW_GROUP = 128
IMAGE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])  # the Image feature of `datasets`


class Column(NamedTuple):
    """A column of a published table."""

    name: str
    type: pa.DataType
    kind: Kind


def _columns(kind: Kind, type: pa.DataType, *names: str) -> list[Column]:
    return [Column(name, type, kind) for name in names]


_CASES = (
    *_columns(Kind.KEY, pa.string(), "case_id", "model", "revision", "mode", "source"),
    *_columns(Kind.KEY, pa.int64(), "index"),
    *_columns(Kind.KEY, pa.string(), "film", "patient_id", "split", "control", "pair"),
    *_columns(Kind.TEXT, pa.string(), "finding", "question", "answer"),
    *_columns(Kind.VERDICT, pa.int64(), "seeds", "flipped", "stayed_removed", "stayed_normal", "passed"),
    *_columns(Kind.BOXES, pa.int64(), "width", "height"),
    *_columns(Kind.BOXES, records.BOXES, "regions", "cause"),
)
_FILMS = (
    *_columns(Kind.KEY, pa.string(), "source", "film", "split"),
    *_columns(Kind.HASH, pa.string(), "sha256"),
    *_columns(Kind.KEY, pa.string(), "licence", "obtain"),
    *_columns(Kind.BOXES, pa.int64(), "width", "height"),
    *_columns(Kind.PIXELS, IMAGE, "image"),
)
_RETENTION = (
    *_columns(Kind.KEY, pa.string(), "model", "mode", "source"),
    *_columns(Kind.TEXT, pa.string(), "finding"),
    *_columns(Kind.KEY, pa.string(), "control"),
    *_columns(Kind.VERDICT, pa.int64(), "asked", "right", "flipped", "stayed", "kept"),
)
_BASELINES = tuple(Column(field.name, field.type, Kind.AGGREGATE) for field in board_columns())

CONFIGS: dict[str, tuple[Column, ...]] = {
    "direct": _CASES,
    "reasoning": _CASES,
    "films": _FILMS,
    "retention": _RETENTION,
    "baselines": _BASELINES,
}


def schema(config: str) -> pa.Schema:
    """The Arrow schema of a config, with the features in the metadata key ``huggingface``."""
    features = {column.name: _feature(column.type) for column in CONFIGS[config]}
    return pa.schema(
        [pa.field(column.name, column.type) for column in CONFIGS[config]],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def write_shard(table: pa.Table, where) -> None:
    """Write a shard to a path or file object, each page with its checksum; the same rows give the same bytes, by which
    `guard` knows a shard."""
    pq.write_table(table, where, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True)


def read_shard(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """A shard, or some columns of it. Raises MedgroundError naming a file that is damaged."""
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise MedgroundError(f"{path} is not a readable Parquet file ({said}); download or export it again") from None


def card_features(config: str) -> list[dict]:
    """The features as a dataset card states them under ``dataset_info``."""
    return [{"name": column.name, **_card_feature(column.type)} for column in CONFIGS[config]]


def _feature(type: pa.DataType) -> dict:
    if type == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(type):
        return {"feature": _feature(type.value_type), "length": type.list_size, "_type": "List"}
    if pa.types.is_list(type):
        return {"feature": _feature(type.value_type), "_type": "List"}
    return {"dtype": _dtype(type), "_type": "Value"}


def _card_feature(type: pa.DataType) -> dict:
    if type == IMAGE:
        return {"dtype": "image"}
    if not pa.types.is_nested(type):
        return {"dtype": _dtype(type)}
    item = _card_feature(type.value_type)
    feature = {"list": item.get("dtype", item)}
    if pa.types.is_fixed_size_list(type):
        feature["length"] = type.list_size
    return feature


def _dtype(type: pa.DataType) -> str:
    return {"double": "float64", "float": "float32"}.get(str(type), str(type))
