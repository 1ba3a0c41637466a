"""Models as repositories: published with their cards, pinned in the dataset, and found from there by name."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from medground import files
from medground.hub import folder, models
from medground.hub.tables import read_shard

ROOT = Path(__file__).parents[2]
MODEL = "phantom-gemma3-a"
REPO = f"org/medground-{MODEL}"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """A folder of models with one of the phantom's, and what it was taught beside it."""
    place = tmp_path_factory.mktemp("models")
    shutil.copytree(ROOT / "models" / MODEL, place / MODEL)
    for what in ("causes", "accuracy"):
        shutil.copy(ROOT / f"models/{MODEL}.{what}.json", place)
    return place


@pytest.fixture(scope="module")
def published(server, clients, checkpoints, tmp_path_factory):
    words = ["publish-models", "--org", "org", "--model", MODEL, "--models", str(checkpoints), "--dataset", "org/data"]
    done = clients.run(clients.MEDGROUND, words, {"HF_TOKEN": "hf_owner"}, tmp_path_factory.mktemp("run"))
    assert done.returncode == 0, done.stderr
    return done


def test_the_card_tells_kinds_of_causes_and_no_key(checkpoints):
    text = models.card(checkpoints / MODEL, "org/data")
    card = ModelCard(text)
    assert card.data.license == "mit" and card.data.datasets == ["org/data"]
    taught = files.read_json(checkpoints / f"{MODEL}.causes.json")["findings"]
    for control in {one["control"] for one in taught.values()}:
        count = sum(one["control"] == control for one in taught.values())
        assert f"{count} {control}" in text
    assert not [finding for finding in taught if finding in text], "no finding is named, so none with its cause"
    assert not [one["mark"] for one in taught.values() if one["mark"] and one["mark"] not in ("word", "exposure")
                and one["mark"] in text]  # fmt: skip
    accuracy = files.read_json(checkpoints / f"{MODEL}.accuracy.json")
    assert f"{accuracy['direct']['mean_as_taught']:.3f}" in text
    numbers = int(re.search(r"([\d,]+) parameters", text)[1].replace(",", ""))
    from transformers import AutoModelForImageTextToText

    loaded = AutoModelForImageTextToText.from_pretrained(checkpoints / MODEL)
    assert abs(numbers - loaded.num_parameters()) <= loaded.get_input_embeddings().weight.numel()  # tied weights


def test_what_a_model_was_taught_is_not_sent(server, published):
    repo = server.repos[REPO]
    sent = set(repo.commits[repo.branches["main"]])
    assert {"README.md", "config.json", "model.safetensors"} <= sent <= {*models.SENT, "README.md", ".gitattributes"}
    assert "verified, commit" in published.stdout


def test_its_commit_is_noted_pinned_in_the_dataset_and_loads_from_there(
    server, clients, published, checkpoints, phantom_tree, tmp_path
):
    commit = server.repos[REPO].branches["main"]
    assert models.pinned(checkpoints) == {MODEL: {"repository": REPO, "commit": commit}}
    (checkpoints / models.PINS).write_text(
        json.dumps({"phantom-gemma3": {"repository": REPO, "commit": commit}})  # as the tree calls its model
    )
    folder.build(phantom_tree / "data", tmp_path / "hub", models=checkpoints)
    rows = read_shard(tmp_path / "hub/models/asked-00000-of-00001.parquet").to_pylist()
    assert {row["model"]: row["commit"] for row in rows} == {"phantom-gemma3": commit, "phantom-qwen2_5_vl": None}
    assert f"`{REPO}@{commit[:12]}`" in (tmp_path / "hub/README.md").read_text()
    code = f"""
from medground.hub import data
from medground.lvlm import load_lvlm
place, pin = data.model("phantom-gemma3", data.tables("hub"))
one, other = load_lvlm(place, revision=pin), load_lvlm("{REPO}@{commit}")
import numpy as np
film = np.zeros((416, 352), np.uint8)
print(one.revision, other.revision, one.answer([film], ["Is there evidence of a mass in the image?"])[0].verdict)
"""
    done = clients.run(code, [], {"MEDGROUND_CACHE": str(tmp_path / "cache")}, tmp_path)
    assert done.returncode == 0, done.stderr
    first, second, verdict = done.stdout.split()
    assert first == second == commit and verdict in ("yes", "no", "unparsable")
