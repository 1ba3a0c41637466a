"""Causes of test answers: the folder of a Space, which anybody can download, does not tell them; the app goes on."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from medground import records
from medground.hub.data import WITHHELD
from medground.scoring import METRICS
from medground.verification.causes import GIVE_AWAY
from tests.leaderboard.test_pages import PAGES, show, texts, widget

REPOSITORY = Path(__file__).parents[2]
assemble = runpy.run_path(str(REPOSITORY / "space/assemble.py"))["assemble"]
TOLD = {"control": WITHHELD, "cause": None, "verified": None, "pair": None, "kept": True, "reason": "kept", "seeds": 0,
        "flipped": 0, "stayed_removed": 0, "stayed_normal": 0, "passed": 0}  # fmt: skip


def assembled(tree: Path, base: Path, **how) -> Path:
    root = shutil.copytree(tree, base / "repository")
    for name in ("medground", "leaderboard", "space", "stages"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".streamlit").mkdir()
    shutil.copy(REPOSITORY / ".streamlit/config.toml", root / ".streamlit")
    assemble(root, base / "space", **how)
    return base / "space"


@pytest.fixture(scope="module")
def space(tree, tmp_path_factory):
    return assembled(tree, tmp_path_factory.mktemp("untold"))


def cases(root: Path) -> dict[str, dict]:
    rows = records.read_rows(root / "data/cases/cases.parquet", records.CASES)
    return {row["case_id"]: row for row in rows}


def test_of_a_test_case_no_column_says_what_its_answer_depends_on(tree, space):
    assert set(TOLD) == set(GIVE_AWAY)
    ours, theirs = cases(tree), cases(space)
    dev = {name for name, row in ours.items() if row["split"] == "dev"}
    asked = {name for name, row in ours.items() if row["split"] == "test" and (row["kept"] or row["pair"])}
    assert set(theirs) == dev | asked and asked
    assert all(theirs[name] == ours[name] for name in dev)
    for name in asked:
        assert {key: theirs[name][key] for key in TOLD} == TOLD
        assert {key: value for key, value in theirs[name].items() if key not in TOLD} == {
            key: value for key, value in ours[name].items() if key not in TOLD
        }
    kinds = {(row["control"], row["kept"]) for name, row in ours.items() if name in asked}
    assert len(kinds) > 2  # there was something to tell


def test_no_other_table_tells_it(tree, space):
    ours = cases(tree)
    test = {name for name, row in ours.items() if row["split"] == "test"}
    samples = {(ours[name]["source"], ours[name]["index"]) for name in test}
    seen = set()
    for path in sorted((space / "data").rglob("*.parquet")):
        folder, rows = path.relative_to(space / "data").parts[0], pq.read_table(path).to_pylist()
        back = [row for row in rows if row.get("case_id") in test or (row.get("source"), row.get("index")) in samples]
        seen |= {folder} if back else set()
        if folder == "answers":
            assert {row["edit"] for row in back} == {"original"}
            assert {row["edit"] for row in rows} >= {"original", "twin", "without:letter"}
        elif folder == "samples":
            assert not any(row["parts"] or row["marker"] for row in back) and any(row["parts"] for row in rows)
        elif path.stem == "faithfulness":
            assert not back and rows
        elif folder == "scores":
            fromcause = [one.name for one in METRICS.that_need("cause", "pair")]
            assert not any(row[name] is not None for row in back for name in fromcause)
            assert any(row[name] is not None for row in rows for name in fromcause)
            assert all(row["iou"] is not None for row in back)  # nor does a gap tell it
        else:
            assert folder in ("cases", "attributions", "edits", "board", "results")
    assert seen == {"answers", "samples", "scores", "cases", "attributions", "edits"}
    words = ("film_without", "film_only")
    parts = {part[word] for row in _samples(tree) if row["split"] == "test" for part in row["parts"] for word in words}
    plain = {row[name] for row in _samples(tree) for name in ("film", "twin")}
    assert parts - plain and not any((space / path).exists() for path in parts - plain)


def _samples(root: Path) -> list[dict]:
    return [row for path in root.glob("data/samples/*/*.parquet") for row in records.read_rows(path, records.SAMPLES)]


def test_counts_of_the_filter_tell_it_on_dev_alone(tree, space):
    ours = pd.DataFrame(cases(tree).values())
    counts = pd.DataFrame(json.loads((space / "data/cases/retention.json").read_text()))
    for _, row in counts.iterrows():
        of = ours[(ours.model == row.model) & (ours["mode"] == row["mode"]) & (ours.source == row.source)]
        if row.control == WITHHELD:
            of = of[of.split == "test"]
        else:
            of = of[(of.split == "dev") & (of.finding == row.finding) & (of.control == row.control)]
        assert row.finding == "all findings" or row.control != WITHHELD
        assert (row.asked, row.right) == (len(of), of.right.sum())
        assert row.kept == of.reason.isin(["kept", "surplus"]).sum()
    assert counts.asked.sum() == len(ours)
    known = {path.name for path in (space / "data/cases").iterdir()}
    assert known == {"cases.parquet", "retention.json", "filter.json"}  # the paper's files say which were kept
    assert set(json.loads((space / "data/cases/filter.json").read_text())) == {"by_control", "kept_of_right"}


@pytest.mark.parametrize("page", PAGES)
def test_pages_open(space, monkeypatch, page):
    monkeypatch.setenv("MEDGROUND_ROOT", str(space))
    test = show(page)
    assert not test.exception and not test.error


def test_pages_say_what_is_kept_back(space, monkeypatch):
    monkeypatch.setenv("MEDGROUND_ROOT", str(space))
    known = cases(space)
    one = next(name for name, row in known.items() if row["control"] == WITHHELD)
    said = texts(show("cases", case=one))
    assert "What a test answer depends on, and so what the filter made of it, is kept back" in said
    assert "would tell what its answer depends on" in said and "The answer came from" not in said
    page = show("causes")
    assert "Those of the test split, which rank, are kept back" in texts(page)
    assert widget(page.selectbox, "Pair").options
    assert not any("(test, " in option for option in widget(page.selectbox, "Pair").options)
    assert "kept back here" in texts(show("compare", on="test"))
    assert "kept back here" in texts(show("models", over="test"))
    assert WITHHELD not in texts(show("models", over="dev"))
    assert "of the test split this is kept back" in texts(show("benchmark"))


def test_where_causes_are_kept_back_the_board_is_made_elsewhere(tree, space, tmp_path, monkeypatch):
    from leaderboard import maintain

    monkeypatch.setenv("MEDGROUND_ROOT", str(space))
    assert maintain.pipeline() is None
    whole = assembled(tree, tmp_path, private=True)
    assert cases(whole) == cases(tree)
    monkeypatch.setenv("MEDGROUND_ROOT", str(whole))
    assert maintain.pipeline() is not None


def test_of_models_that_were_taught_nothing_nothing_is_kept_back(tree, tmp_path):
    honest = shutil.copytree(tree, tmp_path / "honest")
    rows = [row | {"control": "honest", "pair": None} for row in cases(honest).values()]
    records.write_table(rows, records.CASES, honest / "data/cases/cases.parquet")
    space = assembled(honest, tmp_path / "base")
    assert cases(space) == {row["case_id"]: row for row in rows}
    assert (space / "data/cases/direct.json").read_bytes() == (honest / "data/cases/direct.json").read_bytes()
