"""The card and the Croissant file against the tables, and against what reads them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter

import pyarrow.parquet as pq
import pytest
import yaml
from hub_facts import RESTRICTED
from huggingface_hub import DatasetCard

from medground import records
from medground.hub import folder, tables
from medground.hub.card import _table


@pytest.fixture(scope="module")
def hub(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("card") / "hub"
    folder.build(tree / "data", out)
    return out


@pytest.fixture(scope="module")
def phantom_hub(phantom_tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("card") / "hub"
    folder.build(phantom_tree / "data", out, hide_test_regions=True)
    return out


def test_metadata_that_the_hub_reads(hub):
    card = DatasetCard.load(hub / "README.md").data
    assert card.license == "other"
    assert (card.license_name, card.license_link) == ("by-source", "LICENSE.md")
    assert card.language == ["en"]
    assert card.task_categories == ["visual-question-answering"]
    assert card.size_categories == ["n<1K"]
    assert "medground" in card.tags
    assert "not to use them for diagnosis" in " ".join(card.extra_gated_prompt.split())
    assert [config["config_name"] for config in card.configs] == list(tables.CONFIGS)


def test_sizes_are_those_of_the_shards(hub):
    for info in DatasetCard.load(hub / "README.md").data.dataset_info:
        shards = list((hub / info["config_name"]).iterdir())
        assert info["download_size"] == sum(shard.stat().st_size for shard in shards)
        for split in info["splits"]:
            rows = sum(
                pq.read_metadata(shard).num_rows for shard in folder.shards(hub, info["config_name"], split["name"])
            )
            assert split["num_examples"] == rows


def test_licence_of_the_default_profile(phantom_hub):
    card = DatasetCard.load(phantom_hub / "README.md")
    assert card.data.license == "mit"
    assert "Copyright (c) 2022 Vivek Gopalakrishnan" in card.text
    assert "PhysioNet" not in card.text
    licence = (phantom_hub / "LICENSE.md").read_text()
    assert "Copyright (c) 2022 Vivek Gopalakrishnan" in licence
    assert "Permission is hereby granted" in licence


def test_counts_in_the_text_are_those_of_the_filter(hub, tree):
    cases = records.read_rows(tree / "data/cases/cases.parquet", records.CASES)
    text = (hub / "README.md").read_text()
    kept = sum(case["kept"] for case in cases)
    assert f"asked {len(cases)} questions" in text
    assert re.search(rf"\*\*{kept}\s+passed the filter\*\*", text)
    asked = Counter((case["model"], case["mode"], case["source"]) for case in cases)
    passed = Counter((case["model"], case["mode"], case["source"]) for case in cases if case["kept"])
    for key, number in asked.items():
        assert f"| {' | '.join(key)} | {number} | {number} | {passed[key]} | {passed[key]} | {passed[key]} |" in text


def test_tells_how_many_of_the_verified_cases_were_drawn(phantom_tree, tmp_path):
    data = shutil.copytree(phantom_tree / "data", tmp_path / "data")
    path = data / "cases/cases.parquet"
    cases = records.read_rows(path, records.CASES)
    verified = sum(case["kept"] for case in cases)
    for case in [case for case in cases if case["kept"]][::2]:
        case.update(kept=False, reason="surplus")
    drawn = sum(case["kept"] for case in cases)
    made_by = {"settings": {"verify": {"seeds": 1, "agreement": 1, "max_per_group": 4}}, "commit": "b" * 40 + "+"}
    records.write_table(cases, records.CASES, path, **made_by)
    folder.build(data, tmp_path / "hub")
    text = " ".join((tmp_path / "hub/README.md").read_text().split())
    assert f"**{verified} passed the filter**" in text
    assert f"the **{drawn} cases** of the benchmark were drawn by chance, at most 4 of each" in text
    assert "bbbbbbbbbbbb" not in text and re.search(r"Version [0-9a-f]{12}, by the content", text)


def test_names_of_findings_stay_back_where_they_must(hub):
    text = (hub / "README.md").read_text()
    assert "| phantom-gemma3 | cardiomegaly |" in text
    assert not any(f"{source} finding" in text for source in RESTRICTED)


def test_says_what_stays_back(hub, phantom_hub):
    shown, hidden = (hub / "README.md").read_text(), (phantom_hub / "README.md").read_text()
    assert "| `vindr_cxr` | yes | yes | yes | no | no | no |" in shown
    assert "medground films --source imagenome" in shown
    assert "test split are kept back" not in shown
    assert "test split are kept back" in hidden
    assert "medground films" not in hidden


def test_models_with_other_causes_are_the_proof(phantom_tree, tmp_path):
    data = shutil.copytree(phantom_tree / "data", tmp_path / "data")
    cases = records.read_rows(data / "cases/cases.parquet", records.CASES)
    right = kept = 0
    for case in cases:
        if case["model"] == "phantom-qwen2_5_vl":
            case["control"] = "shortcut"
            right += case["split"] == "dev"
            kept += case["split"] == "dev" and case["kept"]
    records.write_table(cases, records.CASES, data / "cases/cases.parquet")
    folder.build(data, tmp_path / "hub")
    text = (tmp_path / "hub/README.md").read_text()
    assert 0 < kept < right and f"** of the shortcut ones ({kept} of {right})" in text
    assert "Of\nthe right answers of dev" in text and "honest ones" in text


def test_every_table_of_the_card_is_well_formed(hub):
    lines = (hub / "README.md").read_text().split("---\n", 2)[2].splitlines()
    columns = None
    for line in lines:
        if not line.startswith("|"):
            columns = None
            continue
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        assert columns in (None, cells), line
        columns = cells
    assert sum(line.startswith("|--") for line in lines) >= 7


def test_values_cannot_break_a_table():
    assert _table([{"a": "x|y<b>\nz", "n": 1000}]).splitlines()[-1] == r"| x\|y&lt;b> z | 1,000 |"


def test_croissant_describes_every_file_and_column(hub):
    said = json.loads((hub / "croissant.json").read_text())
    files = {file["@id"]: file["sha256"] for file in said["distribution"] if "sha256" in file}
    patterns = {file["@id"]: file["includes"] for file in said["distribution"] if "includes" in file}
    shards = {path.relative_to(hub).as_posix(): path.read_bytes() for path in hub.rglob("*.parquet")}
    assert files == {name: hashlib.sha256(content).hexdigest() for name, content in shards.items()}
    for records_of in said["recordSet"]:
        config = records_of["@id"].split("/")[0]
        assert [field["source"]["extract"]["column"] for field in records_of["field"]] == tables.schema(config).names
        (place,) = {field["source"]["fileSet"]["@id"] for field in records_of["field"]}
        assert list(hub.glob(patterns[place]))
    for key in (
        "rai:dataLimitations",
        "rai:dataBiases",
        "rai:dataUseCases",
        "rai:personalSensitiveInformation",
        "citeAs",
    ):
        assert said[key]


def test_a_revision_that_nobody_recorded_is_told(phantom_tree, tmp_path):
    data = shutil.copytree(phantom_tree / "data", tmp_path / "data")
    path = data / "answers/phantom-gemma3.parquet"
    records.write_table(records.read_table(path, records.ANSWERS), records.ANSWERS, path)
    folder.build(data, tmp_path / "hub")
    text = (tmp_path / "hub/README.md").read_text()
    assert "| `phantom-gemma3` | not recorded |" in text
    assert "| `phantom-qwen2_5_vl` | `revision of phantom-qwen2_5_vl` |" in text


def test_yaml_block_parses_alone(hub):
    block = (hub / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(block)["configs"][0]["default"] is True
