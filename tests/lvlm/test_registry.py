from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from medground.errors import MedgroundError
from medground.lvlm import checkpoints, load_lvlm, prompts


def test_importing_the_package_does_not_import_torch():
    code = "import sys, medground, medground.lvlm.prompts, medground.lvlm.verdict; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_a_folder_of_models_is_found_by_its_name(folders, monkeypatch):
    monkeypatch.setattr(checkpoints, "LOCAL", folders)
    lvlm = load_lvlm("gemma3", device="cpu")
    assert (lvlm.key, lvlm.family, str(lvlm.dtype)) == ("gemma3", "gemma3", "torch.float32")
    assert lvlm.revision == load_lvlm(str(folders / "gemma3"), device="cpu").revision
    assert lvlm.revision.startswith("sha256:")


def test_qwens_canvas_shrinks_to_the_most_pixels_of_the_profile(folders, tmp_path):
    folder = tmp_path / "large"
    shutil.copytree(folders / "qwen2_5_vl", folder)
    config = json.loads((folder / "preprocessor_config.json").read_text())
    config["size"]["longest_edge"] = 12845056
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    for most in (0, 512 * 512, 224 * 224):
        lvlm = load_lvlm(str(folder), device="cpu", most_pixels=most)
        letterbox = lvlm.letterbox(2544, 3056)
        expected = most or 2544 * 3056
        assert 0.9 * expected < letterbox.width * letterbox.height < 1.05 * expected
        assert not most or letterbox.width * letterbox.height <= most
        assert letterbox.width % 16 == letterbox.height % 16 == 0
        assert np.prod(lvlm.grid(2544, 3056)) == letterbox.width * letterbox.height // 16**2
    with pytest.raises(MedgroundError, match="takes no film of 20000 x 50 pixels"):
        lvlm.letterbox(20000, 50)


def test_a_fixed_canvas_shows_no_more_than_the_most_pixels_of_the_profile(folders):
    """Gemma's canvas keeps its size; the film on it has been as small as the profile says."""
    lvlm = load_lvlm(str(folders / "gemma3"), device="cpu")
    film = np.random.default_rng(0).integers(0, 255, (300, 200), dtype=np.uint8)
    whole, side = lvlm.canvas([film]), lvlm.letterbox(200, 300).width
    lvlm.most_pixels = 24 * 36
    small = (
        Image.fromarray(film).resize((24, 36), Image.Resampling.BICUBIC).resize((200, 300), Image.Resampling.BICUBIC)
    )
    expected = lvlm.letterbox(200, 300).apply(np.asarray(small))
    assert lvlm.canvas([film]).shape == whole.shape == (1, side, side)
    assert np.array_equal(lvlm.canvas([film])[0].numpy(), (expected / np.float32(255)).astype(np.float32))
    assert not np.array_equal(lvlm.canvas([film]), whole)
    assert np.array_equal(
        lvlm.canvas([film], "published"), load_lvlm(str(folders / "gemma3"), device="cpu").canvas([film], "published")
    )
    lvlm.most_pixels = 10**6
    assert np.array_equal(lvlm.canvas([film]), whole)


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
