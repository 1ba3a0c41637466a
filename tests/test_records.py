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


def test_no_flipped_bit_is_read_as_another_value(tmp_path):
    path = tmp_path / "t.parquet"
    records.write_table([GOOD | {"index": n} for n in range(20)], SCHEMA, path, seed=1)
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 7):  # everywhere: pages, their headers, the footer, the seal
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(MedgroundError, match=r"t\.parquet is not a readable Parquet file.*dvc repro"):
            records.read_table(path, SCHEMA)
    path.write_bytes(whole)
    assert len(records.read_rows(path, SCHEMA)) == 20


def test_page_checksums_are_there_for_other_readers(tmp_path):
    path = tmp_path / "t.parquet"
    records.write_table([GOOD | {"source": "unmistakable" * 9}], SCHEMA, path)
    assert pq.read_table(path, page_checksum_verification=True).num_rows == 1
    content = bytearray(path.read_bytes())
    content[content.index(b"unmistakable")] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


def test_versions_of_a_table(tmp_path):
    older = pa.schema([*SCHEMA, pa.field("dropped", pa.string())], {"version": "1"})
    newer = pa.schema([*SCHEMA, pa.field("note", pa.string())], {"version": "2"})
    records.write_table([GOOD | {"dropped": "x"}], older, tmp_path / "older")
    assert records.read_rows(tmp_path / "older", newer) == [GOOD | {"note": None}]
    records.write_table([GOOD], newer, tmp_path / "newer")
    with pytest.raises(MedgroundError, match=r"newer was written by a newer medground \(version 2.*knows 1\)"):
        records.read_table(tmp_path / "newer", SCHEMA)


def test_nothing_of_when_and_where_is_in_a_table(tmp_path):
    records.write_table([GOOD], SCHEMA, tmp_path / "t.parquet", seed=1)
    metadata = pq.read_metadata(tmp_path / "t.parquet").metadata
    assert set(metadata) == {b"medground", b"medground.sha256", b"ARROW:schema"}
    assert records.made_by(tmp_path / "t.parquet") == {"seed": 1}


def test_rows_one_after_another_are_those_of_the_table_and_gather_to_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_AT_ONCE", 3)
    rows = [{"reference": str(n), "film": f"{n}.png", "masks": []} for n in range(8)]
    records.write_table(rows, records.REFERENCES, tmp_path / "t.parquet")
    assert list(records.iter_rows(tmp_path / "t.parquet", records.REFERENCES)) == rows
    some = records.iter_rows(tmp_path / "t.parquet", records.REFERENCES, ("film", "reference"))
    assert list(some) == [{"film": row["film"], "reference": row["reference"]} for row in rows]
    gathered = records.gather(iter(rows), records.REFERENCES)
    assert gathered.to_pylist() == rows and gathered.column("film").num_chunks > 2
    assert records.gather([], records.REFERENCES).to_pylist() == []
    with pytest.raises(MedgroundError, match="unknown columns"):
        records.gather([{"other": 1}], records.REFERENCES)
