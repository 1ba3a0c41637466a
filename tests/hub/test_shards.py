"""Shards that are written a row group after another: the bytes of the whole table, and few rows at once."""

from __future__ import annotations

import weakref

import pyarrow as pa
import pytest
from whole_shard import write_shard

from medground.hub import tables


class Row(dict):
    """A dict that can be watched."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def row(number: int) -> Row:
    values = dict.fromkeys(column.name for column in tables.CONFIGS["films"])
    picture = {"bytes": bytes([number % 251]) * (1 + number % 97), "path": f"{number}.png"}
    return Row(values, source="phantom_region", film=f"f{number}", split="dev", width=number, image=picture)


@pytest.mark.parametrize("rows", [0, 1, tables.ROW_GROUP, 3 * tables.ROW_GROUP, 3 * tables.ROW_GROUP + 1])
def test_rows_give_the_bytes_of_their_table(tmp_path, rows):
    """Arrow's own writer, given the whole table, is what they are held against."""
    columns = tables.schema("films")
    write_shard(pa.Table.from_pylist([row(number) for number in range(rows)], columns), tmp_path / "whole")
    tables.write_rows((row(number) for number in range(rows)), "films", tmp_path / "rows")
    assert (tmp_path / "rows").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_row_group_of_rows_is_held_at_once(tmp_path):
    alive: weakref.WeakSet[Row] = weakref.WeakSet()
    held = []

    def made():
        for number in range(10 * tables.ROW_GROUP):
            one = row(number)
            alive.add(one)
            held.append(len(alive))
            yield one

    tables.write_rows(made(), "films", tmp_path / "shard")
    assert tables.ROW_GROUP <= max(held) <= 2 * tables.ROW_GROUP + 1
