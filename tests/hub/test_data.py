"""One name for the data: what the pipeline's tables say, the published dataset says as well, as far as it is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hub_facts import HEIGHT, MODELS, RESTRICTED, WIDTH

from medground import ranking, records, submission
from medground.errors import MedgroundError
from medground.evaluation.questions import read as read_questions
from medground.evaluation.tables import EDITS
from medground.hub import data as hub_data
from medground.hub import folder
from medground.images import read_film
from medground.scoring.tables import load_cases, read_attributions
from medground.submission import preview

HOW = {"resamples": 200, "level": 0.9, "seed": 3}


@pytest.fixture(scope="module")
def hub(phantom_tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "hub"
    folder.build(phantom_tree / "data", out, normal="phantom_region", asked={"most_pixels": 99})
    return out


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MEDGROUND_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_the_pipelines_tables_are_taken_as_they_are(phantom_tree):
    assert hub_data.tables(phantom_tree / "data") == phantom_tree / "data"


def test_cases_are_those_of_the_pipeline_and_tell_nothing_of_the_test_split(phantom_tree, hub):
    ours, theirs = (
        {case["case_id"]: case for case in load_cases(folder)}
        for folder in (phantom_tree / "data", hub_data.tables(hub))
    )
    assert set(ours) == set(theirs)
    same = ("model", "mode", "source", "index", "patient_id", "split", "finding", "question", "answer", "width",
            "height", "regions")  # fmt: skip
    for name, case in ours.items():
        assert {key: theirs[name][key] for key in same} == {key: case[key] for key in same}
        told = {key: theirs[name][key] for key in ("control", "flipped", "passed", "reason")}
        if case["split"] == "dev":
            assert told == {key: case[key] for key in told}
        else:
            assert told == {"control": hub_data.WITHHELD, "flipped": 0, "passed": 0, "reason": "kept"}


def test_films_edits_and_normal_films_come_back_to_the_byte(phantom_tree, hub):
    data = hub_data.tables(hub, films=True)
    ours, theirs = read_questions(phantom_tree / "data"), read_questions(data)
    assert {(q["source"], q["index"], q["answer"]) for q in ours} == {
        (q["source"], q["index"], q["answer"]) for q in theirs
    }
    by_key = {(q["source"], q["index"]): q for q in theirs}
    for question in ours:
        other = by_key[question["source"], question["index"]]
        for name in ("film", *EDITS):
            ours_bytes = (phantom_tree / question[name]).read_bytes()
            assert (data.parent / other[name]).read_bytes() == ours_bytes
    for reference in records.read_rows(data / "references/references.parquet", records.REFERENCES):
        number = reference["reference"].removeprefix("normal")
        assert np.array_equal(
            read_film(data.parent / reference["film"]), read_film(phantom_tree / f"data/references/films/{number}.png")
        )
        ours_masks = next(
            row["masks"]
            for row in records.read_rows(phantom_tree / "data/references/references.parquet", records.REFERENCES)
            if row["reference"] == reference["reference"]
        )
        assert [mask["concept"] for mask in reference["masks"]] == [mask["concept"] for mask in ours_masks]
        for mine, other in zip(reference["masks"], ours_masks, strict=True):
            assert (data.parent / mine["path"]).read_bytes() == (phantom_tree / other["path"]).read_bytes()
    assert hub_data.asked(data) == {"max_new_tokens": 48, "most_pixels": 99, "protocol": "medground"}


@pytest.fixture(scope="module")
def entry(phantom_tree, tmp_path_factory):
    """An entry that explains every case of the benchmark."""
    out, rng = tmp_path_factory.mktemp("entry") / "mine", np.random.default_rng(5)
    cases = load_cases(phantom_tree / "data")
    submission.write(
        out, maps={case["case_id"]: rng.random((5, 4)) for case in cases}, method="Mine", version="1",
        authors=["A. Author"], licence="CC0-1.0", hardware="laptop", models=list(MODELS), modes=["direct", "reasoning"],
        used_test_regions=False, trained_on_sources=False,
    )  # fmt: skip
    return out


def test_what_is_scored_from_the_dataset_is_the_board_to_the_last_digit(phantom_tree, hub, entry):
    data = phantom_tree / "data"
    cases = load_cases(data)
    scores = records.read_table(data / "scores/scores.parquet", records.SCORES).to_pylist()
    scores = [row for row in scores if row["entry"] != "somebody"]
    from medground.scoring import score_entry

    scores += score_entry("mine", read_attributions(entry / "attributions.parquet"), cases)
    results = ranking.Results.of(records.as_table(scores, records.SCORES), cases)
    kinds = {"medfocus": "method", "center_box": "floor", "mine": "submission"}
    board = ranking.board(results, kinds, {}, **HOW)
    expected = next(r for r in board if (r["track"], r["split"], r["entry"]) == ("all", "dev", "mine"))
    report, rows = preview.against_board(entry, hub_data.tables(hub))
    assert report.valid
    assert {row["split"] for row in rows} == {"dev"}, "what the answers to the test split depend on is kept back"
    found = next(row for row in rows if row["entry"] == preview.NAME)
    assert {name: value for name, value in found.items() if name != "entry"} == {
        name: value for name, value in expected.items() if name != "entry"
    }
    with pytest.raises(MedgroundError, match="'test' depend on is kept back"):
        preview.against_board(entry, hub_data.tables(hub), "test")


def test_half_an_entry_is_told_what_it_lacks(hub, entry, tmp_path):
    cases = load_cases(hub_data.tables(hub))
    dev = [case for case in cases if case["split"] == "dev"]
    submission.write(
        tmp_path / "dev", maps={case["case_id"]: np.eye(4) for case in dev}, method="Mine", version="1",
        authors=["A. Author"], licence="CC0-1.0", hardware="laptop", models=list(MODELS), modes=["direct", "reasoning"],
        used_test_regions=False, trained_on_sources=False,
    )  # fmt: skip
    report = submission.validate(tmp_path / "dev", cases)
    missing = [problem for problem in report.problems if problem.message == "is missing"]
    assert len(missing) == len(cases) - len(dev) > 0


def test_names_that_stand_for_nothing_say_what_does(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(MedgroundError, match=r"holds no data.*--data ORG/NAME.*dvc repro"):
            hub_data.tables(name)


def test_a_dataset_cannot_write_elsewhere(hub, tmp_path):
    import shutil

    import pyarrow.parquet as pq
    from whole_shard import write_shard

    other = shutil.copytree(hub, tmp_path / "hub")
    (shard,) = other.glob("films/dev-*.parquet")
    table = pq.read_table(shard)
    place = table.schema.get_field_index("source")
    write_shard(table.set_column(place, table.schema.field("source"), [["../../x"] * len(table)]), shard)
    with pytest.raises(MedgroundError, match=r"source is '\.\./\.\./x'"):
        hub_data.tables(other, films=True)


def test_sources_whose_films_stay_at_home_can_be_validated(tree, tmp_path):
    folder.build(tree / "data", tmp_path / "hub")
    data = hub_data.tables(tmp_path / "hub", films=True)
    closed = [case for case in load_cases(data) if case["source"] in RESTRICTED]
    assert closed and all(case["regions"] == [] and case["width"] > WIDTH + HEIGHT for case in closed)
    assert not list((data / "films").glob("vindr_cxr/*"))
    assert json.loads((data / "models.json").read_text())[MODELS[0]]["revision"] == f"revision of {MODELS[0]}"
