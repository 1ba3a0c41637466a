"""A metric is one function: it reaches scores, tables and board, and no older table becomes unreadable."""

import sys
import types

import numpy as np
import pyarrow as pa
import pytest

from medground import doors, ranking, records
from medground.errors import MedgroundError
from medground.scoring import METRICS, Evidence, metric, metrics, score_entry

CASES = [
    {"case_id": f"m/direct/s/{n}", "model": "m", "mode": "direct", "source": "s", "finding": "effusion", "kept": True,
     "patient_id": f"p{n}", "split": ("dev", "test")[n % 2], "control": "honest", "width": 100, "height": 80,
     "regions": [(10.0, 10.0, 50.0, 40.0)]}
    for n in range(8)
]  # fmt: skip


@pytest.fixture
def added():
    """A metric of another package, for the time of a test."""

    @metric("left_half", label="Left half", help="share of the map's hottest pixels in the film's left half")
    def left_half(case: Evidence) -> float:
        hottest = case.heat >= case.heat.max()
        return float(hottest[:, : case.heat.shape[1] // 2].sum() / hottest.sum())

    yield left_half
    del METRICS._door._known["left_half"]


def rows(entry="x"):
    return score_entry(
        entry, [{"case_id": case["case_id"], "boxes": [(0.0, 0.0, 20.0, 20.0)]} for case in CASES], CASES
    )


def test_one_function_reaches_the_scores_and_the_board(added, tmp_path):
    records.write_table(rows(), records.SCORES, tmp_path / "scores.parquet")
    scores = records.read_table(tmp_path / "scores.parquet", records.SCORES)
    assert set(scores["left_half"].to_pylist()) == {1.0}
    board = ranking.board(ranking.Results.of(scores, CASES), {"x": "method"}, {}, resamples=50)
    assert all((row["left_half"], row["left_half_low"], row["left_half_high"]) == (1, 1, 1) for row in board)
    records.write_table(board, records.BOARD, tmp_path / "board.parquet")
    assert "left_half_low" in ranking.board_columns().names
    assert records.read_rows(tmp_path / "board.parquet", records.BOARD) == [
        {**dict.fromkeys(records.BOARD.names), **row} for row in board
    ]


def test_tables_with_more_or_fewer_metrics_are_read(added, tmp_path):
    records.write_table(rows("with"), records.SCORES, tmp_path / "with.parquet")
    del METRICS._door._known["left_half"]
    records.write_table(rows("without"), records.SCORES, tmp_path / "without.parquet")
    both = [records.read_table(tmp_path / name, records.SCORES) for name in ("with.parquet", "without.parquet")]
    results = ranking.Results.of(pa.concat_tables(both, promote_options="default"), CASES)
    assert results.entries == ["with", "without"] and "left_half" not in results.values
    METRICS.add(metrics.Metric("left_half", "Left half", "of another package", measure=added))
    results = ranking.Results.of(pa.concat_tables(both, promote_options="default"), CASES)
    assert (results.values["left_half"] == [[1.0] * 8, [0.0] * 8]).all()  # who was not measured has the worst value


def test_a_board_of_before_is_read_without_what_is_no_longer_kept(tmp_path):
    """Version 1 had the metrics of its day as fixed columns, and counted what was measured."""
    row = {"track": "all", "split": "all", "entry": "x", "kind": "method", "cases": 3, "coverage": 1.0, "iou": 0.5,
           "rank": 1, "rank_low": 1, "rank_high": 1, "tie": "a", "seconds": None, "measured": 0}  # fmt: skip
    table = pa.Table.from_pylist([row]).cast(
        pa.schema(
            [
                pa.field(name, pa.string() if isinstance(value, str) else
                         pa.int64() if isinstance(value, int) else pa.float64())
                for name, value in row.items()
            ]
        )
    )  # fmt: skip
    pa.parquet.write_table(table, tmp_path / "old.parquet")
    (read,) = records.read_rows(tmp_path / "old.parquet", records.BOARD)
    assert read["iou"] == 0.5 and read["ranked"] is None and "measured" not in read


def test_a_metric_of_an_entry_point_is_loaded_once_and_a_broken_one_is_named(monkeypatch):
    def point(name, load):
        package = types.SimpleNamespace(name="their-package")
        return types.SimpleNamespace(name=name, value=f"{name}_metric", dist=package, load=load)

    loaded = []
    fresh = metrics.Metrics()
    one = metrics.Metric("theirs", "Theirs", "a metric of theirs", measure=lambda case: 0.5)
    monkeypatch.setattr(doors, "entry_points", lambda group: [
        point("theirs", lambda: loaded.append(group) or fresh.add(one))])  # fmt: skip
    assert list(fresh) == ["theirs"] and fresh["theirs"] is one and len(fresh) == 1
    assert loaded == ["medground.metrics"]

    def broken():
        raise ImportError("no module named x")

    monkeypatch.setattr(doors, "entry_points", lambda group: [point("bad", broken)])
    with pytest.raises(MedgroundError, match=r"the metric 'bad' of their-package .* cannot be imported"):
        list(metrics.Metrics())


def test_names_needs_and_ranges_are_held(added):
    with pytest.raises(MedgroundError, match="two metrics are named 'left_half'"):
        metric("left_half", label="x", help="y")(lambda case: 0.0)
    with pytest.raises(MedgroundError, match="needs 'luck'"):
        metric("lucky", label="x", help="y", needs="luck")(lambda case: 0.0)
    METRICS.add(metrics.Metric("left_half", "Left half", "x", measure=added))
    evidence = Evidence(np.ones((4, 4)), np.ones((4, 4), bool), [], [], True)
    wrong = metrics.Metric("wrong", "x", "y", measure=lambda case: 1.5)
    with pytest.raises(MedgroundError, match=r"metric wrong is 1\.5; it says 0 to 1"):
        wrong.of(evidence)
    with pytest.raises(MedgroundError, match="is nan"):
        metrics.Metric("nan", "x", "y", measure=lambda case: float("nan")).of(evidence)
    falling = metrics.Metric("falling", "Falling", "y", higher_is_better=False)
    assert (falling.worst, falling.arrow) == (1.0, "Falling ↓")


def test_every_metric_says_what_it_is():
    for one in METRICS.values():
        assert one.label and one.help and one.needs in metrics.NEEDS and one.low < one.high
    assert sys.modules["medground.scoring.metrics"].__file__ in map(str, metrics.sources())
