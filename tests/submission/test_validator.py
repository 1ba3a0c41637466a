"""Every kind of mistake is found, all at once, with row, value and remedy."""

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medground import submission
from medground.submission import schema, validator
from medground.submission.schema import MAX_CELLS, cell, plain, shown

pytestmark = pytest.mark.usefixtures("in_process")


def frame(maps):
    rows = [
        {"case_id": case, "grid": heat.ravel().tolist(), "grid_height": heat.shape[0], "grid_width": heat.shape[1]}
        for case, heat in maps.items()
    ]
    return pd.DataFrame(rows)


def problems(folder, cases):
    return [str(problem) for problem in submission.validate(folder, cases).problems]


def test_a_written_entry_is_valid(entry, cases):
    report = submission.validate(entry, cases)
    assert report.valid and report.scorable and report.card["method"] == "Mine", report.text()


def test_plain_pandas_makes_a_valid_entry(tmp_path, cases, maps, card):
    table = frame(maps)
    table["extent"] = [[0, -32, 320, 288]] * len(table)
    table["case_id"] = table["case_id"].astype("category")
    (tmp_path / "entry.yaml").write_text(yaml.safe_dump(card))
    table.to_parquet(tmp_path / "attributions.parquet")
    assert problems(tmp_path, cases) == []


def test_boxes_and_abstentions_are_valid(tmp_path, cases, card):
    boxes = {case["case_id"]: [(0, 0, 320, 256), (10.5, 20, 30, 40)] for case in cases}
    boxes[cases[0]["case_id"]] = []
    assert problems(submission.write(tmp_path / "e", boxes=boxes, **card), cases) == []


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("case_id", "a/direct/s/99", "row 2 case a/direct/s/99: is unknown"),
        ("case_id", "a/direct/s/0", "row 2 case a/direct/s/0: was already given"),
        ("case_id", None, "row 2: has no case_id"),
        ("grid", [1.0, 2.0], "row 2 case a/direct/s/2 grid: has another shape (2 values, 8 x 10)"),
        ("grid", [], "has another shape (0 values, 8 x 10)"),
        ("grid", [1.0] * 80, "grid: has no contrast (1.0)"),
        ("grid", [1.0] * 79 + [np.nan], "grid: has NaN, empty or infinite values (nan at 79)"),
        ("grid", [1.0] * 79 + [None], "grid: has NaN, empty or infinite values (nan at 79)"),
        ("grid", [1.0] * 79 + [-np.inf], "grid: has NaN, empty or infinite values (-inf at 79)"),
        ("grid", [1.0] * 79 + [1e300], "grid: has NaN, empty or infinite values (inf at 79)"),
        ("grid_height", 0, "has another shape (80 values, 0 x 10)"),
        ("grid_width", -10, "has another shape (80 values, 8 x -10)"),
        ("boxes", [[0.0, 0, 10, 10]], "has both a grid and boxes"),
        ("extent", [0.0, 0, 320], "extent: has not four numbers (0, 0, 320)"),
        ("extent", [0.0, 0, np.inf, 10], "extent: has NaN, empty or infinite coordinates"),
        ("extent", [10.0, 0, 10, 10], "extent: is inverted or empty (10, 0, 10, 10)"),
        ("extent", [400.0, 0, 500, 10], "extent: does not overlap the film (400, 0, 500, 10)"),
        ("seconds", -1.0, "seconds: is not a positive number (-1.0)"),
        ("note", "\x1b[2J", "has a text that is too long or has control characters (\\x1b[2J)"),
    ],
)
def test_one_wrong_value_of_a_map(tmp_path, cases, maps, card, column, value, message):
    table = frame(maps)
    table[column] = [
        value if row == 2 else (table[column][row] if column in table else None) for row in range(len(table))
    ]
    (tmp_path / "entry.yaml").write_text(yaml.safe_dump(card))
    table.to_parquet(tmp_path / "attributions.parquet")
    report = submission.validate(tmp_path, cases)
    assert any(message in str(problem) for problem in report.problems), report.text()
    assert report.scorable and all(problem.remedy for problem in report.problems)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[10, 10, 5, 20]], "box 0: is inverted or empty (10, 10, 5, 20)"),
        ([[0, 0, 9, 9], [0, 0, 9, 300]], "box 1: lies outside the film (0, 0, 9, 300); boxes are in native pixels"),
        ([[0, 0, 9, float("nan")]], "box 0: has NaN, empty or infinite coordinates"),
        ([[0, 0, 9]], "box 0: has not four numbers"),
        ([None], "box 0: has not four numbers"),
        ([[0, 0, 9, 9]] * 101, "boxes: are too many (101)"),
    ],
)
def test_one_wrong_value_of_boxes(tmp_path, cases, card, boxes, message):
    table = pd.DataFrame({"case_id": [c["case_id"] for c in cases], "boxes": [[[0, 0, 9, 9.0]]] * 7 + [boxes]})
    (tmp_path / "entry.yaml").write_text(yaml.safe_dump(card))
    table.to_parquet(tmp_path / "attributions.parquet")
    assert any(message in problem and "row 7" in problem for problem in problems(tmp_path, cases))


def test_missing_cases_and_other_models(tmp_path, cases, maps, card):
    del maps["a/direct/s/3"]
    found = problems(submission.write(tmp_path / "e", maps=maps, **{**card, "models": ["a"]}), cases)
    assert sum("is of a model or mode that entry.yaml does not list" in problem for problem in found) == 4
    assert [problem for problem in found if "is missing" in problem] == [
        "attributions.parquet case a/direct/s/3: is missing; add a row; without grid and boxes it abstains, which "
        "scores the worst value"
    ]


def test_a_map_that_is_too_large(tmp_path, cases, maps, card):
    side = int(MAX_CELLS**0.5) + 1
    maps["a/direct/s/0"] = np.arange(side * side, dtype=np.float32).reshape(side, side)
    assert any(
        "is too large (1025 x 1025)" in problem
        for problem in problems(submission.write(tmp_path / "e", maps=maps, **card), cases)
    )


def test_wrong_and_unknown_columns(tmp_path, cases, maps, card):
    table = frame(maps)
    table["grid"] = "a map"
    table["colour"] = 1
    (tmp_path / "entry.yaml").write_text(yaml.safe_dump(card))
    table.drop(columns="grid_width").to_parquet(tmp_path / "attributions.parquet")
    report = submission.validate(tmp_path, cases)
    assert not report.scorable
    text = report.text()
    for message in ("column grid: has the wrong type", "column colour: is unknown", "column grid_width: is missing"):
        assert message in text


def test_everything_at_once(tmp_path, cases, maps, card):
    maps["a/direct/s/0"][0, 0] = np.nan
    maps["b/direct/s/77"] = maps.pop("b/direct/s/1")
    folder = submission.write(tmp_path / "e", maps=maps, **{**card, "authors": [], "link": "javascript:alert(1)"})
    (folder / "extra.pkl").write_bytes(b"x")
    text = submission.validate(folder, cases).text()
    for message in (
        "extra.pkl: does not belong", "row 0", "is unknown", "case b/direct/s/1: is missing",
        "authors: is not a list of 1 to 100 texts (list of 0)",
        "link: is not an http address (javascript:alert(1))",
    ):  # fmt: skip
        assert message in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": None}, "entry.yaml method: is not a text (None); give the name"),
        ({"method": "x" * 81}, "method: has 81 characters, more than 80"),
        ({"method": "a\u202eb"}, "method: has control characters (a\\u202eb)"),
        ({"authors": "me"}, "authors: is not a list of 1 to 100 texts (me)"),
        ({"models": ["c"]}, "models: is unknown (c); the benchmark has a, b"),
        ({"modes": ["thinking"]}, "modes: is unknown (thinking)"),
        ({"used_test_regions": "no"}, "used_test_regions: is neither true nor false (no)"),
        ({"settings": {"a": [1]}}, "settings: a is neither a text, a number nor true/false"),
        ({"claimed_iou": 40}, "claimed_iou: is not a number from 0 to 1 (40)"),
        ({"colour": 1}, "entry.yaml colour: unknown key"),
    ],
)
def test_the_card(entry, cases, card, change, message):
    (entry / "entry.yaml").write_text(yaml.safe_dump({**card, **change}))
    assert any(message in problem for problem in problems(entry, cases)), problems(entry, cases)


def test_a_card_without_keys_names_all_of_them(entry, cases):
    (entry / "entry.yaml").write_text("{}")
    assert sum("is missing; add it" in problem for problem in problems(entry, cases)) == 9


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
        max_leaves=8,
    )
)
def test_any_card_gets_a_report(entry, cases, content):
    (entry / "entry.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    assert not submission.validate(entry, cases).valid


def test_thousands_of_problems_stay_readable(tmp_path, cases, card):
    many = [{**cases[0], "case_id": f"a/direct/s/{n}"} for n in range(2000)]
    folder = submission.write(tmp_path / "e", boxes={many[0]["case_id"]: [(0, 0, 9, 9)]}, **{**card, "models": ["a"]})
    found = problems(folder, many)
    assert len(found) == 101 and "1,899 more of: is missing" in found[-1]


def test_text_is_text():
    assert plain("naïve — 日本") and not plain("a\x00b") and not plain("\u202e")
    assert shown("a\nb") == "a\\nb" and len(shown("x" * 500)) == 80
    assert [cell(v) for v in ("=1+1", " @x", "\tx", "-2", "fine", 3, None)] == [
        "'=1+1",
        "' @x",
        "'\tx",
        "'-2",
        "fine",
        3,
        None,
    ]


WIDE = {"a/direct/s/1": (300, 200)}  # width, height of a film


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"boxes": [[0.0, 0.0, 300.0, 200.0]]}, None),
        ({"boxes": [[0.0, 0.0, 190.0, 290.0]]}, "lies outside the film"),
        ({"boxes": [[-1.0, -1.0, 301.0, 201.0]]}, None),  # a pixel, for what was rounded
        ({"boxes": [[-1.1, 0.0, 300.0, 200.0]]}, "lies outside the film"),
        ({"boxes": [[0.0, 0.0, 301.1, 200.0]]}, "lies outside the film"),
        ({"boxes": [[0.0, 0.0, 300.0, 201.1]]}, "lies outside the film"),
        ({"extent": [299.0, 199.0, 400.0, 300.0]}, None),
        ({"extent": [300.0, 0.0, 400.0, 100.0]}, "does not overlap the film"),
        ({"extent": [0.0, 200.0, 100.0, 300.0]}, "does not overlap the film"),
        ({"extent": [-9.0, 0.0, 0.0, 100.0]}, "does not overlap the film"),
        ({"extent": [0.0, -9.0, 100.0, 0.0]}, "does not overlap the film"),
        ({"seconds": 0.0, "forwards": 0}, None),
        ({"seconds": -0.1}, "is not a positive number"),
        ({"seconds": float("inf")}, "is not a positive number"),
        ({"seconds": float("nan")}, "is not a positive number"),
        ({"forwards": -1}, "is not a positive number"),
    ],
)
def test_a_row_is_held_against_its_own_film(values, problem):
    assert schema.OUTSIDE == 1.0
    grid = {"grid": np.arange(4.0), "grid_height": 2, "grid_width": 2} if "boxes" not in values else {}
    row = {"case_id": "a/direct/s/1", **grid, **values}
    found = [p.message for p in validator._row_problems(row, "row 1", set(WIDE), WIDE, set())]
    assert found == [problem] if problem else not found, found
