from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from medground.errors import MedgroundError
from medground.lvlm import checkpoints, load_lvlm, prompts
from medground.lvlm.families import qwen2_5_vl


def test_importing_the_package_does_not_import_torch():
    code = "import sys, medground, medground.lvlm.prompts, medground.lvlm.verdict; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_folder_of_models_is_found_by_its_name(folders, monkeypatch):
    monkeypatch.setattr(checkpoints, "LOCAL", folders)
    lvlm = load_lvlm("gemma3", device="cpu")
    assert (lvlm.key, lvlm.family, str(lvlm.dtype)) == ("gemma3", "gemma3", "torch.float32")
    assert lvlm.revision == load_lvlm(str(folders / "gemma3"), device="cpu").revision
    assert lvlm.revision.startswith("sha256:")


def test_qwens_canvas_is_kept_within_the_editors(folders, tmp_path):
    folder = tmp_path / "large"
    shutil.copytree(folders / "qwen2_5_vl", folder)
    config = json.loads((folder / "preprocessor_config.json").read_text())
    config["size"]["longest_edge"] = 12845056
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    letterbox = load_lvlm(str(folder), device="cpu").letterbox(2544, 3056)
    assert 0.9 * qwen2_5_vl.MOST_PIXELS < letterbox.width * letterbox.height <= qwen2_5_vl.MOST_PIXELS
    assert letterbox.width % 16 == letterbox.height % 16 == 0


def test_unknown_names_list_the_known_ones():
    with pytest.raises(MedgroundError, match=r"no model 'gemma4'.*medgemma_4b"):
        load_lvlm("gemma4")
    with pytest.raises(MedgroundError, match=r"no folder with a config\.json"):
        load_lvlm("./models/nowhere")


def test_unsupported_family_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}))
    with pytest.raises(MedgroundError, match=r"family 'llava'; supported: gemma3, qwen2_5_vl"):
        load_lvlm(str(tmp_path))


def test_folder_without_weights_is_named(folders, tmp_path):
    (tmp_path / "config.json").write_text((folders / "gemma3" / "config.json").read_text())
    with pytest.raises(MedgroundError, match=f"{tmp_path.name} cannot be loaded: .*save_pretrained"):
        load_lvlm(str(tmp_path))


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("You are trying to access a gated repo.\nMake sure to have access to it", "request access at https://hugging"),
        ("We couldn't connect to 'https://huggingface.co'", "check the network"),
    ],
)
def test_hub_errors_say_what_to_do(monkeypatch, message, remedy):
    def refuse(*args, **kwargs):
        raise OSError(message)

    monkeypatch.setattr(checkpoints, "cached_file", refuse)
    with pytest.raises(MedgroundError, match=remedy) as caught:
        load_lvlm("medgemma_4b")
    assert "google/medgemma-4b-it" in str(caught.value)


def test_modes_and_evidence_are_checked():
    with pytest.raises(MedgroundError, match="unknown mode 'poetic'; known: direct, reasoning"):
        prompts.prompt("?", "poetic")
    with pytest.raises(MedgroundError, match="unknown kind of evidence 'feelings'"):
        prompts.evidence("pneumothorax", "feelings")


def test_a_revision_is_known_without_loading_the_model(folders, tmp_path):
    known = {family: checkpoints.revision(str(folders / family)) for family in ("gemma3", "qwen2_5_vl")}
    assert known["gemma3"] == load_lvlm(str(folders / "gemma3"), device="cpu").revision != known["qwen2_5_vl"]
    with pytest.raises(MedgroundError, match="there is no model"):
        checkpoints.revision("no-such-model")
