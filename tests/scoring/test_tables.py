"""Tables of attributions, read and taken apart by case."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from medground import records
from medground.attribution.method import Attribution
from medground.errors import MedgroundError
from medground.scoring.tables import read_attributions, take_attributions


@pytest.fixture
def table(tmp_path):
    """Forty cases, every third with boxes instead of a map, one twice."""
    rng = np.random.default_rng(0)
    found = [
        Attribution(str(n), boxes=[(0.0, 0.0, n + 1.0, 2.0)])
        if n % 3 == 0
        else Attribution(str(n), rng.random((2, 3)), (0.0, 0.0, 6.0, 4.0))
        for n in [*range(40), 7]
    ]
    records.write_table([one.row() for one in found], records.ATTRIBUTIONS, tmp_path / "all.parquet")
    return tmp_path / "all.parquet"


def plain(rows):
    return [{**row, "grid": None if row["grid"] is None else row["grid"].tolist()} for row in rows]


def test_rows_of_some_cases_are_those_that_a_reader_of_all_would_pick(table):
    wanted = {"7", "12", "39", "none"}
    expected = [row for row in plain(read_attributions(table)) if row["case_id"] in wanted]
    assert [row["case_id"] for row in expected] == ["7", "12", "39", "7"]
    assert plain(read_attributions(table, only=wanted)) == expected
    assert plain(read_attributions(table, only=set())) == []


def test_what_was_taken_out_says_the_same_in_a_row_group_a_row(table, tmp_path):
    wanted = {"7", "12", "39", "none"}
    take_attributions(table, wanted, tmp_path / "some.parquet")
    assert plain(read_attributions(tmp_path / "some.parquet")) == plain(read_attributions(table, only=wanted))
    assert pq.ParquetFile(tmp_path / "some.parquet").num_row_groups == 4
    take_attributions(table, {"none"}, tmp_path / "none.parquet")
    assert plain(read_attributions(tmp_path / "none.parquet", only={"7"})) == []


def test_other_row_groups_are_not_decoded(table, tmp_path):
    take_attributions(table, {str(n) for n in range(40)}, tmp_path / "apart.parquet")
    content = bytearray((tmp_path / "apart.parquet").read_bytes())
    of_case_1 = pq.ParquetFile(tmp_path / "apart.parquet").metadata.row_group(1)
    columns = [of_case_1.column(number) for number in range(of_case_1.num_columns)]
    grid = next(column for column in columns if column.path_in_schema.startswith("grid."))
    content[(grid.dictionary_page_offset or grid.data_page_offset) + grid.total_compressed_size - 1] ^= 255
    (tmp_path / "apart.parquet").write_bytes(content)
    with pytest.raises(MedgroundError, match="not a readable"):
        list(read_attributions(tmp_path / "apart.parquet"))
    assert [row["case_id"] for row in read_attributions(tmp_path / "apart.parquet", only={"2", "30"})] == ["2", "30"]
