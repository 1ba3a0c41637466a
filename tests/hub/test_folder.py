"""The exported folder, loaded by the real `datasets` client, against the tables that it was made from."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from hub_facts import FINDINGS, MODELS, OPEN, RESTRICTED, SAMPLES, SECRET_BOX
from PIL import Image

from medground import records
from medground.errors import MedgroundError
from medground.hub import folder, tables

CONFIGS = {
    "direct": ["dev", "test"],
    "reasoning": ["dev", "test"],
    "films": ["dev", "test"],
    "retention": ["total"],
    "baselines": ["dev", "test"],
}


@pytest.fixture(scope="module")
def hub(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "hub"
    folder.build(tree / "data", out)
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
    cases = records.read_rows(tree / "data/cases/cases.parquet", records.CASES)
    kept = {case["case_id"]: case for case in cases if case["kept"] and case["mode"] == mode}
    rows = [row for split in load(mode).values() for row in split]
    assert {row["case_id"] for row in rows} == set(kept)
    for row in rows:
        case = kept[row["case_id"]]
        assert row["revision"] == f"revision of {row['model']}"
        assert row["passed"] == case["passed"] == 1
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
    assert seen == dict.fromkeys(OPEN + RESTRICTED, SAMPLES - 1)  # no case of the last sample was kept


def test_retention_names_findings_only_where_they_may_leave(load):
    rows = load("retention")["total"]
    assert {row["finding"] for row in rows if row["source"] in OPEN} == {"cardiomegaly"}
    assert {row["finding"] for row in rows if row["source"] in RESTRICTED} == {None}
    assert len(rows) == len(MODELS) * 2 * len(OPEN + RESTRICTED)
    assert {row["asked"] for row in rows} == {SAMPLES}


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
    folder.build(tree / "data", tmp_path / "hub")
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
