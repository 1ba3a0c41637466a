"""Rows of an item are used again whatever other items there are, and only where what they depend on is the same."""

import pyarrow as pa
import pytest

from medground import engine, records
from medground.engine import run

SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("value", pa.int64(), nullable=False)])


@pytest.fixture
def make(tmp_path, monkeypatch):
    """``make(items)``: the table of (name, value) items, twice the value a row and two rows an item; what was asked."""
    monkeypatch.chdir(tmp_path)

    def made(items, fingerprint="one", of=lambda row: row["name"]):
        asked = []

        def work(batch):
            asked.extend(name for name, _ in batch)
            return [{"name": name, "value": factor * value} for name, value in batch for factor in (1, 2)]

        about = {"batch_size": 3, "fingerprint": fingerprint, "content": lambda item: str(item[1]), "of": of}
        engine.map(work, items, key=lambda item: item[0], out="data/t.parquet", schema=SCHEMA, workers=1, **about)
        rows = [(row["name"], row["value"]) for row in records.read_rows("data/t.parquet", SCHEMA)]
        assert rows == [(name, factor * value) for name, value in items for factor in (1, 2)]
        return asked

    return made


ITEMS = [(name, number) for number, name in enumerate("abcdefgh")]


def test_fewer_more_and_other_items_cost_only_what_is_new(make):
    assert make(ITEMS) == list("abcdefgh")
    assert make(ITEMS) == []
    assert make(ITEMS[1::2]) == []
    assert make([*ITEMS[::2], ("new", 5)]) == ["new"]
    assert make([ITEMS[7], ("c", 99), ITEMS[0]]) == ["c"]
    assert make(ITEMS) == []


def test_another_fingerprint_costs_all(make):
    make(ITEMS)
    assert make(ITEMS[:2], fingerprint="two") == ["a", "b"]


def test_a_damaged_part_is_made_again(make):
    make(ITEMS)
    next(path for path in sorted(run.PROGRESS.rglob("*.parquet")) if path.is_file()).write_bytes(b"damaged")
    assert 1 <= len(make([*ITEMS[1::2], ("x", 1)])) <= 4


def test_the_bytes_do_not_say_what_was_used_again(make, tmp_path):
    make(ITEMS)
    make(ITEMS[2:])
    again = (tmp_path / "data/t.parquet").read_bytes()
    make(ITEMS[2:], fingerprint="two")
    assert (tmp_path / "data/t.parquet").read_bytes() == again
