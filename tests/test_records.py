"""Tables are checked when written and when read, and are never half there."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medground import records
from medground.errors import MedgroundError

SCHEMA = pa.schema(
    [pa.field("source", pa.string(), False), pa.field("index", pa.int64(), False), pa.field("box", records.BOX)]
)
GOOD = {"source": "s", "index": 1, "box": [0.0, 1.0, 2.0, 3.0]}


def test_round_trip_with_settings(tmp_path):
    path = tmp_path / "deep" / "t.parquet"
    records.write_table([GOOD, GOOD | {"box": None}], SCHEMA, path, seed=3)
    assert records.read_rows(path, SCHEMA) == [GOOD, GOOD | {"box": None}]
    assert records.made_by(path) == {"seed": 3}
    assert os.listdir(path.parent) == ["t.parquet"]


def test_same_rows_same_bytes(tmp_path):
    for name in ("a", "b"):
        records.write_table([GOOD], SCHEMA, tmp_path / name, seed=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (GOOD | {"index": "one"}, "column index does not fit"),
        (GOOD | {"box": [1.0, 2.0]}, "column box does not fit"),
        (GOOD | {"colour": 1}, "row 0 has unknown columns"),
        ({"source": "s"}, "column index has 1 empty"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path, row, message):
    with pytest.raises(MedgroundError, match=message):
        records.write_table([row], SCHEMA, tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "t.parquet"
    with pytest.raises(MedgroundError, match="is missing; run `dvc repro`"):
        records.read_table(path, SCHEMA)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(MedgroundError, match="not a readable Parquet"):
        records.read_table(path, SCHEMA)
    pq.write_table(pa.table({"source": ["s"]}), path)
    with pytest.raises(MedgroundError, match="missing \\['index'\\]"):
        records.read_table(path, SCHEMA)
    pq.write_table(pa.table({"source": ["s"], "index": [1]}), path)
    assert records.read_rows(path, SCHEMA) == [{"source": "s", "index": 1, "box": None}]  # box came later
    pq.write_table(pa.table({"source": ["s"], "index": ["1"], "box": pa.array([None], records.BOX)}), path)
    with pytest.raises(MedgroundError, match="column index is string, expected int64"):
        records.read_table(path, SCHEMA)


def test_every_schema_writes_an_empty_table(tmp_path):
    schemas = {name: value for name, value in vars(records).items() if isinstance(value, pa.Schema)}
    assert {"SAMPLES", "EDITS", "ANSWERS", "CASES", "ATTRIBUTIONS", "SCORES", "BOARD"} <= set(schemas)
    for name, schema in schemas.items():
        records.write_table([], schema, tmp_path / name)
        assert records.read_rows(tmp_path / name, schema) == []
