"""The exported folder, loaded by the real `datasets` client, against the tables that it was made from."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections import Counter

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from hub_facts import FINDINGS, MODELS, OPEN, RESTRICTED, SAMPLES, SECRET_BOX
from PIL import Image

from medground import records
from medground.errors import MedgroundError
from medground.evaluation.questions import read as read_questions
from medground.evaluation.tables import EDITS, RESULTS
from medground.hub import folder, guard, tables
from medground.scoring import METRICS
from medground.verification.causes import GIVE_AWAY

CONFIGS = {
    "direct": ["dev", "test"],
    "reasoning": ["dev", "test"],
    "questions": ["dev", "test"],
    "films": ["dev", "test"],
    "attributions": ["dev", "test"],
    "retention": ["dev", "test"],
    "results": ["dev", "test"],
    "baselines": ["dev", "test"],
    "models": ["asked"],
    "references": ["normal"],
}


@pytest.fixture(scope="module")
def hub(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "hub"
    folder.build(tree / "data", out, normal="phantom_region")
    return out


@pytest.fixture(scope="module")
def load(hub, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return lambda config: datasets.load_dataset(str(hub), config, cache_dir=str(cache))


def test_every_config_loads_with_its_splits(load):
    for config, splits in CONFIGS.items():
        assert sorted(load(config)) == splits


@pytest.mark.parametrize("config", CONFIGS)
def test_features_are_those_that_datasets_derives(config):
    schema = tables.schema(config)
    features = datasets.Features.from_arrow_schema(schema)
    assert features.arrow_schema == schema.remove_metadata()
    assert json.loads(features.arrow_schema.metadata[b"huggingface"]) == json.loads(schema.metadata[b"huggingface"])
    assert tables.card_features(config) == features._to_yaml_list()
    if config == "films":
        assert isinstance(features["image"], datasets.Image)


@pytest.mark.parametrize("mode", ["direct", "reasoning"])
def test_cases_are_the_kept_ones(load, tree, mode):
    """Of the split test without what tells the cause of an answer."""
    cases = records.read_rows(tree / "data/cases/cases.parquet", records.CASES)
    kept = {case["case_id"]: case for case in cases if case["kept"] and case["mode"] == mode}
    rows = [row for split in load(mode).values() for row in split]
    assert {row["case_id"] for row in rows} == set(kept)
    for row in rows:
        case = kept[row["case_id"]]
        assert row["benchmark"]
        assert row["revision"] == f"revision of {row['model']}"
        shown = {name: row[name] for name in GIVE_AWAY if name in row}
        assert set(shown) == set(GIVE_AWAY)
        if row["split"] == "test":
            assert not any(value is not None for value in shown.values())
        else:
            assert shown == {name: case[name] for name in shown} and row["passed"] == 1
        if row["source"] in OPEN:
            assert (row["question"], row["answer"], row["finding"]) == (
                case["question"], case["answer"], case["finding"]
            )  # fmt: skip
            assert row["regions"][0] == SECRET_BOX
        else:
            closed = ("finding", "question", "answer", "width", "height", "regions")
            assert [row[name] for name in closed] == [None] * len(closed)


def test_films_carry_the_providers_bytes_where_they_may(load, tree):
    samples = {
        (source, folder.film_key(sample)): sample
        for source in OPEN + RESTRICTED
        for sample in records.read_rows(tree / f"data/samples/{source}/samples.parquet", records.SAMPLES)
    }
    seen = Counter()
    for split, films in load("films").items():
        for film in films:
            sample = samples[film["source"], film["film"]]
            content = (tree / sample["film"]).read_bytes()
            assert film["split"] == split == sample["split"]
            assert film["sha256"] == hashlib.sha256(content).hexdigest()
            if film["source"] in OPEN:
                assert np.array_equal(np.asarray(film["image"]), np.asarray(Image.open(io.BytesIO(content))))
            else:
                assert film["image"] is None
            seen[film["source"]] += 1
    assert seen == dict.fromkeys(OPEN + RESTRICTED, SAMPLES)


def test_questions_carry_the_edited_films_where_they_may_and_else_their_hashes(load, tree):
    asked = {(q["source"], q["index"]): q for q in read_questions(tree / "data")}
    seen = Counter()
    for split, rows in load("questions").items():
        for row in rows:
            question = asked[row["source"], row["index"]]
            assert row["split"] == split == question["split"]
            for name in ("image", *EDITS):
                content = (tree / question["film" if name == "image" else name]).read_bytes()
                if row["source"] in OPEN:
                    assert np.array_equal(np.asarray(row[name]), np.asarray(Image.open(io.BytesIO(content))))
                else:
                    assert row[name] is None
                if name != "image":
                    assert row[f"{name}_sha256"] == hashlib.sha256(content).hexdigest()
            told = [row[name] for name in ("finding", "question", "answer", "regions", "recipe")]
            assert (None in told) == (row["source"] in RESTRICTED)
            seen[row["source"]] += 1
    assert seen == dict.fromkeys(OPEN + RESTRICTED, SAMPLES)


def test_attributions_carry_maps_and_scores_and_of_the_test_split_none_that_tells_a_cause(load, tree):
    scores = {
        (row["entry"], row["case_id"]): row
        for row in records.read_rows(tree / "data/scores/scores.parquet", records.SCORES)
        if row["protocol"] == "medground"
    }
    entries = Counter()
    for split, rows in load("attributions").items():
        for row in rows:
            score = scores[row["entry"], row["case_id"]]
            told = {metric.name for metric in METRICS.that_need("regions")}
            told |= set(METRICS) if split == "dev" else set()
            for name in (metric.name for metric in METRICS.values() if metric.needs != "model"):
                assert row[name] == (score.get(name) if name in told else None), name
            open_map = row["entry"] == "medfocus" and row["source"] in OPEN
            assert (row["grid"] is not None) == open_map and (not open_map or len(row["grid"]) == 16)
            entries[row["entry"], row["kind"]] += 1
    assert set(entries) == {("medfocus", "method"), ("center_box", "floor")}


def test_hidden_regions_hide_edits_and_scores_too(tree, tmp_path):
    folder.build(tree / "data", tmp_path / "hub", hide_test_regions=True)
    for config, names in (
        ("questions", ("regions", *EDITS, *(f"{edit}_sha256" for edit in EDITS))),
        ("attributions", ("iou", "iou_published")),
        ("direct", ("regions", "cause")),
    ):
        for split in ("dev", "test"):
            table = tables.read_shard(next((tmp_path / "hub").glob(f"{config}/{split}-*")), list(names))
            empty = {name: table[name].null_count == len(table) for name in names}
            assert set(empty.values()) <= {split == "test"} or config == "direct", (config, split, empty)


def test_results_are_by_finding_where_it_may_be_named(load, tree):
    ours = records.read_rows(tree / "data/results/results.parquet", RESULTS)
    for split, rows in load("results").items():
        kept = [row for row in ours if row["split"] == split and row["finding"] in (None, "cardiomegaly")]
        assert [dict(row) for row in rows] == kept


def test_verified_cases_that_were_not_drawn_are_there_unless_they_tell_what_a_model_was_taught(taught, tmp_path):
    path = taught / "cases/cases.parquet"
    cases = records.read_rows(path, records.CASES)
    for case in cases:
        if case["index"] in (2, 3):
            case.update(kept=False, reason="surplus")
    records.write_table(cases, records.CASES, path)
    folder.build(taught, tmp_path / "hub")
    rows = [row for split in ("dev", "test")
            for row in tables.read_shard(next((tmp_path / "hub").glob(f"direct/{split}-*"))).to_pylist()]  # fmt: skip
    extra = Counter((row["model"], row["split"]) for row in rows if not row["benchmark"])
    each = len(OPEN + RESTRICTED)
    assert extra == {(MODELS[0], "dev"): each, (MODELS[0], "test"): each, (MODELS[1], "dev"): each}


def test_retention_names_findings_only_where_they_may_leave(load):
    rows = [row for split in load("retention").values() for row in split]
    assert {row["finding"] for row in rows if row["source"] in OPEN} == {"cardiomegaly"}
    assert {row["finding"] for row in rows if row["source"] in RESTRICTED} == {None}
    assert len(rows) == 2 * len(MODELS) * 2 * len(OPEN + RESTRICTED)
    assert {row["asked"] for row in rows} == {row["patients"] for row in rows} == {SAMPLES // 2} and {
        row["control"] for row in rows
    } == {"honest"}


@pytest.fixture
def taught(tree, tmp_path):
    """The tree again, where the second model was taught a mark and answers some films in pairs with the first."""
    data = shutil.copytree(tree / "data", tmp_path / "data")
    os.symlink(tree / "raw", tmp_path / "raw")
    cases = records.read_rows(data / "cases/cases.parquet", records.CASES)
    for case in cases:
        if case["model"] == MODELS[1]:
            case.update(control="shortcut", kept=False, reason="not flipped", flipped=0, passed=0)
        if case["index"] < 2:
            case.update(cause=[[1.0, 2.0, 3.0, 4.0]], verified=True, pair=_name(case))
    records.write_table(cases, records.CASES, data / "cases/cases.parquet")
    for mode in ("direct", "reasoning"):
        said = json.loads((data / f"cases/{mode}.json").read_text())
        said = [record for record in said if record["model"] == MODELS[0]]
        (data / f"cases/{mode}.json").write_text(json.dumps(said))
    return data


def _name(case) -> str:
    return hashlib.sha256(f"{case['mode']} {case['source']} {case['index']}".encode()).hexdigest()[:12]


def test_pairs_leave_with_their_causes_from_dev_and_without_them_from_test(taught, tmp_path):
    folder.build(taught, tmp_path / "hub")
    rows = {
        split: [row for mode in ("direct", "reasoning")
                for row in pq.read_table(tmp_path / f"hub/{mode}/{split}-00000-of-00001.parquet").to_pylist()]
        for split in ("dev", "test")
    }  # fmt: skip
    pairs = Counter(row["pair"] for row in rows["dev"] if row["pair"])
    assert len(pairs) == 2 * len(OPEN + RESTRICTED) and set(pairs.values()) == {2}
    assert {row["control"] for row in rows["dev"]} == {"honest", "shortcut"}
    for row in rows["dev"]:
        assert (row["cause"] is not None) == bool(row["pair"] and row["source"] in OPEN)
    assert {row["model"] for row in rows["test"]} == set(MODELS), "their cases are there to be explained"
    assert not any(row[name] for row in rows["test"] for name in row if name in GIVE_AWAY)
    for mode in ("direct", "reasoning"):
        said = json.loads((tmp_path / f"hub/{mode}.json").read_text())
        assert {record["index"] % 2 for record in said} == {0, 1}, "of an honest model all kept cases are there"


def test_counts_of_the_test_split_do_not_say_what_a_model_was_taught(taught, tmp_path):
    folder.build(taught, tmp_path / "hub")
    dev, test = (
        pq.read_table(tmp_path / f"hub/retention/{s}-00000-of-00001.parquet").to_pylist() for s in CONFIGS["retention"]
    )
    assert {(row["model"], row["control"]) for row in dev} == {(MODELS[0], "honest"), (MODELS[1], "shortcut")}
    assert {row["control"] for row in test if row["model"] == MODELS[0]} == {"honest"}
    assert {(row["control"], row["finding"]) for row in test if row["model"] == MODELS[1]} == {(None, None)}
    card = (tmp_path / "hub/README.md").read_text()
    assert "`control`, `cause`, `verified`, `pair`" in card and "have their dev cases alone" in card


def test_a_flipped_bit_of_a_shard_is_noticed(hub, tmp_path):
    """By the guard; and a reader that looks at checksums gets the same rows or none."""
    copy = shutil.copytree(hub, tmp_path / "hub")
    shard = copy / "direct/dev-00000-of-00001.parquet"
    whole, rows, refused = shard.read_bytes(), tables.read_shard(shard), 0
    pages = pq.read_metadata(shard).row_group(0).column(0)
    for at in range(pages.data_page_offset, pages.data_page_offset + pages.total_compressed_size, 7):
        shard.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(MedgroundError):
            guard.check(copy)
        try:
            assert tables.read_shard(shard) == rows
        except MedgroundError as error:
            assert "dev-00000-of-00001.parquet is not a readable" in str(error)
            refused += 1
    assert refused > 5


def test_baselines_are_the_pipelines_own_entries(load):
    rows = load("baselines")["dev"]
    assert set(rows["entry"]) == {"medfocus", "center_box"}
    assert {track for track in rows["track"] if track.startswith("finding=")} == {"finding=cardiomegaly"}


def test_paper_records_keep_verdicts_of_restricted_sources(hub, tree):
    for mode in ("direct", "reasoning"):
        said = json.loads((hub / f"{mode}.json").read_text())
        known = {
            (r["model"], r["dataset"], r["index"]): r
            for r in json.loads((tree / f"data/cases/{mode}.json").read_text())
        }
        assert len(said) == len(known)
        for record in said:
            original = known[record["model"], record["dataset"], record["index"]]
            assert list(record) == list(original)
            if record["dataset"] in OPEN:
                assert record == original
            else:
                gates = [value for key, value in record.items() if key.startswith("prediction")]
                assert gates == ["Yes", "No", "Yes", "Yes"]


def test_hidden_regions_stay_back_from_test_only(tree, tmp_path):
    folder.build(tree / "data", tmp_path / "hub", hide_test_regions=True)
    for mode in ("direct", "reasoning"):
        dev, test = (pq.read_table(tmp_path / f"hub/{mode}/{s}-00000-of-00001.parquet") for s in ("dev", "test"))
        assert test["regions"].null_count == len(test) > 0
        assert dev["regions"].null_count == sum(name in RESTRICTED for name in dev["source"].to_pylist())
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*test*"))
    assert np.float64(SECRET_BOX[0]).tobytes() not in content


def test_a_second_run_gives_the_same_bytes(tree, hub, tmp_path):
    folder.build(tree / "data", tmp_path / "hub", normal="phantom_region")
    assert _bytes(tmp_path / "hub") == _bytes(hub)


def test_shards_are_cut_by_size_and_load_in_order(tree, hub, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "SHARD_BYTES", 10_000)
    folder.build(tree / "data", tmp_path / "hub")
    shards = folder.shards(tmp_path / "hub", "films", "dev")
    assert len(shards) > 2
    assert [shard.name for shard in shards] == [f"dev-{n:05d}-of-{len(shards):05d}.parquet" for n in range(len(shards))]
    keys = [key for shard in shards for key in pq.read_table(shard)["film"].to_pylist()]
    assert keys == pq.read_table(hub / "films/dev-00000-of-00001.parquet")["film"].to_pylist()


def test_no_trace_of_restricted_content(hub):
    """Every byte of the folder, and every value of every shard: no name of a finding, no box, no text."""
    for path in hub.rglob("*"):
        if path.suffix in (".json", ".md"):
            content = path.read_text()
            assert not any(FINDINGS[source] in content for source in RESTRICTED), path
    for shard in hub.rglob("*.parquet"):
        for row in pq.read_table(shard).to_pylist():
            if row.get("source") in RESTRICTED:
                assert not any(isinstance(value, bytes | list | dict) for value in row.values()), shard
                text = json.dumps(row)
                assert FINDINGS[row["source"]] not in text
                assert not any(end in text for end in (".png", ".jpg", ".dicom", "raw/", "data/")), shard


def test_failure_leaves_the_old_folder(tree, hub, tmp_path, monkeypatch):
    out = tmp_path / "hub"
    folder.build(tree / "data", out)
    before = _bytes(out)
    monkeypatch.setattr(folder, "_write_records", _fail)
    with pytest.raises(MedgroundError, match="full"):
        folder.build(tree / "data", out)
    assert _bytes(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def test_missing_tables_are_named(tmp_path):
    with pytest.raises(MedgroundError, match=r"cases\.parquet is missing"):
        folder.build(tmp_path / "data", tmp_path / "hub")


def _fail(*_):
    raise MedgroundError("the disk is full")


def _bytes(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
