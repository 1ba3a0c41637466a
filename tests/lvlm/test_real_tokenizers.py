"""Every method on small models in bfloat16 that have the ids, and the vocabulary, of the real tokenizers."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest
import torch
from transformers import Gemma3ForConditionalGeneration, Qwen2_5_VLForConditionalGeneration

from medground.attribution import Item, entries
from medground.grounding.detector import Detector
from medground.grounding.segmenter import MedSAM
from medground.lvlm import load_lvlm
from medground.phantom.lvlms import architecture

sys.path.insert(0, str(Path(__file__).parents[1]))
import real_tokenizers

ROOT = Path(__file__).parents[2]
EYES = {"detector": ROOT / "models" / "phantom-owlvit", "segmenter": ROOT / "models" / "phantom-sam"}
QUESTION = "Is there evidence of cardiomegaly in the image? Answer directly with yes or no without any explanation."
QUICK = {"cells": 2, "masks": 3, "steps": 2, "max_new_tokens": 3}
#: As the checkpoints on the Hub have them: https://huggingface.co/google/gemma-3-4b-it, Qwen/Qwen2.5-VL-3B-Instruct
IDS = {
    "gemma3": {
        "<start_of_image>": 255999,
        "<end_of_image>": 256000,
        "<image_soft_token>": 262144,
        "<end_of_turn>": 106,
    },
    "qwen2_5_vl": {"<|vision_start|>": 151652, "<|vision_end|>": 151653, "<|image_pad|>": 151655, "<|im_end|>": 151645},
}
ROWS = {"gemma3": 262208, "qwen2_5_vl": 151936}  # of the embedding

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["gemma3", "qwen2_5_vl"])
def real(request, tmp_path_factory):
    """A checkpoint of a small model in bfloat16 with the real tokenizer, loaded as any checkpoint is."""
    family, folder = request.param, tmp_path_factory.mktemp("real")
    source = real_tokenizers.fetched(family)
    parts = architecture.build(family, [QUESTION], seed=3)
    config = copy.deepcopy(parts.model.config)
    config.text_config.vocab_size = ROWS[family]
    ids = IDS[family]
    if family == "gemma3":
        config.image_token_index = config.image_token_id = ids["<image_soft_token>"]
        config.boi_token_index, config.eoi_token_index = ids["<start_of_image>"], ids["<end_of_image>"]
        end, kind = ids["<end_of_turn>"], Gemma3ForConditionalGeneration
        config.text_config.pad_token_id, config.text_config.bos_token_id = 0, 2
    else:
        config.image_token_id, config.video_token_id = ids["<|image_pad|>"], 151656
        config.vision_start_token_id, config.vision_end_token_id = ids["<|vision_start|>"], ids["<|vision_end|>"]
        end, kind = ids["<|im_end|>"], Qwen2_5_VLForConditionalGeneration
        config.text_config.pad_token_id = 151643
    config.text_config.eos_token_id = end
    torch.manual_seed(3)
    model = kind(config)
    if family == "gemma3":
        torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.09)
    model.generation_config.eos_token_id = end
    model.to(torch.bfloat16).save_pretrained(folder)
    parts.image_processor.save_pretrained(folder)
    for name in real_tokenizers.FILES:
        copyfile(source / name, folder / name)
    if family == "qwen2_5_vl":  # the package has the template of a model without pictures
        (folder / "chat_template.jinja").write_text(architecture.QWEN_CHAT)
    torch.set_num_threads(1)
    lvlm = load_lvlm(str(folder), device="cpu")
    assert lvlm.dtype == torch.bfloat16 and lvlm.family == family
    return lvlm


@pytest.fixture(scope="module")
def item():
    rng = np.random.default_rng(0)
    film, normal = (rng.integers(0, 255, (150, 130), dtype=np.uint8) for _ in range(2))
    concepts = (("left lung", (70.0, 20.0, 120.0, 110.0)), ("right lung", (10.0, 20.0, 60.0, 110.0)))
    return Item("m/direct/s/0", film, QUESTION, "Yes.", "cardiomegaly", concepts, normal)


def test_ids_are_the_real_ones(real):
    for token, number in IDS[real.family].items():
        assert real.tokenizer.convert_tokens_to_ids(token) == number
    text = real.text(QUESTION, "Yes.", 130, 150)
    rows, columns = real.grid(130, 150)
    assert len(text.image) == rows * columns and text.tokens == ["Yes", "."]
    assert (text.input_ids[0, text.image] == real.image_token_id).all()
    ids = text.input_ids[0].tolist()
    around = ids[int(text.image[0]) - 1], ids[int(text.image[-1]) + 1]
    assert around == tuple(IDS[real.family].values())[:2]


@pytest.mark.parametrize("name", sorted(name for name, one in entries().items() if "model" in one.needs))
def test_every_method_runs(name, real, item, monkeypatch):
    """Finite maps of the grid's size, or boxes within the film; the same twice."""
    from medground.attribution.builtin import prompting, published

    for module in (prompting, published):
        monkeypatch.setattr(module, "load_detector", lambda where: Detector.load(str(EYES["detector"])))
        monkeypatch.setattr(module, "load_segmenter", lambda where: MedSAM.load(str(EYES["segmenter"])))
    monkeypatch.setattr(prompting, "parse_names", lambda text: ["left lung", "cardiac silhouette"])
    monkeypatch.setattr(published, "_list", lambda text: ["left lung", "cardiac silhouette"])
    if name == "prompting_published":
        monkeypatch.undo()
    method = entries()[name]
    method = method.with_settings(**{key: value for key, value in QUICK.items() if key in method.settings})
    found, again = (method.attribute(real, [item])[0] for _ in range(2))
    if found.grid is not None:
        assert np.isfinite(found.grid).all() and np.array_equal(found.grid, again.grid)
        assert found.grid.std() > 0 or name in ("gradcam_published", "gradcampp_published")  # zero, as published
    else:
        assert found.boxes is not None and found.boxes == again.boxes
        assert all(np.isfinite(box).all() for box in found.boxes)
        printed = name in ("prompting", "prompting_published")  # a random model prints no boxes
        assert found.boxes or printed or (name == "medfocus" and found.note["verdict"] == "not local")
    assert found.forwards > 0 and real.dtype == torch.bfloat16


def test_margins_in_half_precision_are_the_teacher_forced_ones(real, item):
    (answer,) = real.answer([item.film], [QUESTION], max_new_tokens=2)
    text = real.text(QUESTION, None, 130, 150)
    with torch.inference_mode():
        logits = real.forward(real.canvas([item.film]), text).logits[0, -1]
    assert logits.dtype == torch.float32
    yes, no = real._yes_no
    expected = logits[yes].logsumexp(0) - logits[no].logsumexp(0)
    assert answer.margin == pytest.approx(float(expected), abs=0.02)
