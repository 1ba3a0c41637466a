"""The card and the Croissant file against the tables, and against what reads them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hub_facts import RESTRICTED
from huggingface_hub import DatasetCard

from medground import records
from medground.evaluation.tables import RESULTS
from medground.hub import folder, tables
from medground.hub.card import _table
from medground.scoring import boxes, score


@pytest.fixture(scope="module")
def hub(tree, tmp_path_factory):
    out = tmp_path_factory.mktemp("card") / "hub"
    folder.build(tree / "data", out, normal="phantom_region")
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


def test_only_sources_that_keep_something_back_are_gated(hub, phantom_hub):
    assert "extra_gated_prompt" not in DatasetCard.load(phantom_hub / "README.md").data.to_dict()
    assert "extra_gated_prompt" in DatasetCard.load(hub / "README.md").data.to_dict()


def test_every_column_of_every_config_is_explained(hub):
    text = (hub / "README.md").read_text()
    for config, columns in tables.CONFIGS.items():
        assert f"`{config}`" in text
        for column in columns:
            assert f"| `{column.name}` | " in text and column.help and f"| {column.help} |" in text, column.name


def test_the_rules_of_scoring_are_those_of_the_code(phantom_hub):
    text = " ".join((phantom_hub / "README.md").read_text().split())
    assert f"longer side is {score.SIDE} pixels" in text and "native pixels**" not in text
    assert (
        f"above the {boxes.QUANTILE:g} quantile" in text and f"at least {boxes.MIN_AREA} pixels of the canvas" in text
    )
    assert f"boxes of the {boxes.MAX_BOXES} with the highest mean heat" in text


def test_the_board_of_models_is_that_of_the_table(phantom_hub, phantom_tree):
    text = (phantom_hub / "README.md").read_text()
    for row in records.read_rows(phantom_tree / "data/results/results.parquet", RESULTS):
        if row["finding"] is None:
            shown = f"{row['kept'] / row['asked']:.3f} ({row['grounded_low']:.3f}-{row['grounded_high']:.3f})"
            line = next(line for line in text.splitlines()
                        if line.startswith(f"| `{row['model']}` | {row['mode']} | {row['split']} |"))  # fmt: skip
            assert shown in line


def test_the_citation_has_year_and_address(phantom_hub):
    text = (phantom_hub / "README.md").read_text()
    assert "year = {2026}" in text and "url = {https://huggingface.co/datasets/ORG/NAME}" in text


def test_tasks_of_the_board_of_models_are_as_the_hub_wants_them(phantom_hub):
    """The fields that the Hub's documentation of eval.yaml has: no others, and those that it requires."""
    said = yaml.safe_load((phantom_hub / "eval.yaml").read_text())
    assert set(said) <= {"name", "description", "evaluation_framework", "tasks"} and {"name", "tasks"} <= set(said)
    configs = {config["config_name"]: config for config in DatasetCard.load(phantom_hub / "README.md").data.configs}
    for task in said["tasks"]:
        assert set(task) <= {"id", "config", "split", "field_spec", "solvers", "scorers"} and task["id"]
        assert task["split"] in {files["split"] for files in configs[task["config"]]["data_files"]}
    assert [task["id"] for task in said["tasks"]] == ["grounded_direct", "grounded_reasoning"]


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
        assert [field["source"]["extract"]["column"] for field in records_of["field"]] == [
            column.name for column in tables.CONFIGS[config] if column.type != pa.list_(tables.IMAGE)
        ]
        (place,) = {field["source"]["fileObject"]["@id"] for field in records_of["field"]}
        assert place in files and not patterns
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
