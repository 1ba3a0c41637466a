"""The registry, the table row, and what holds for every method."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medground import records
from medground.attribution import Attribution, Item, by_entry, entries, method, methods
from medground.errors import MedgroundError
from medground.geometry import Letterbox

ASKING = [name for name, m in entries().items() if "model" in m.needs and m.group != "prompting"]
READING_ANSWERS = [name for name in ASKING if by_entry(name).group in ("perturbation", "gradient", "medfocus")]


QUICK = {"cells": 3, "masks": 9, "steps": 3}


def quick(name):
    """The method with fewer forwards."""
    return by_entry(name).with_settings(**{k: v for k, v in QUICK.items() if k in by_entry(name).settings})


def test_floors_and_registry_do_not_import_torch(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from medground.attribution import Item, methods\n"
        "import medground.attribution.items\n"
        "item = Item('a/b/c/1', np.zeros((40, 30), np.uint8), '', '', prior=(0., 0., 9., 9.))\n"
        "[m.attribute(None, [item]) for m in methods().values() if not {'model', 'concepts'} & set(m.needs)]\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_floors():
    items = [Item(f"m/direct/s/{n}", np.zeros((200, 100), np.uint8), "", "") for n in range(300)]
    random = [a.boxes[0] for a in method("random").attribute(None, items)]
    again = [a.boxes[0] for a in method("random").attribute(None, items[::-1])]
    assert random == again[::-1] and len(set(random)) == 300
    assert all(0 <= x1 < x2 <= 100 and 0 <= y1 < y2 <= 200 for x1, y1, x2, y2 in random)
    assert method("center_box").attribute(None, items)[0].boxes == [(25.0, 50.0, 75.0, 150.0)]
    assert method("whole_film").attribute(None, items)[0].boxes == [(0.0, 0.0, 100.0, 200.0)]


def test_rows_fit_the_table(tmp_path):
    full = Attribution(
        "a", np.arange(6.0).reshape(2, 3), (0, 0, 9, 9), None, [("lung", (1, 2, 3, 4), 0.5)], [("Yes", 0.1)], {"d": 1}
    )
    rows = [full.row(), Attribution("b", boxes=[(0, 0, 1, 1)], seconds=2.0, forwards=3).row()]
    records.write_table(rows, records.ATTRIBUTIONS, tmp_path / "t.parquet")
    back = records.read_rows(tmp_path / "t.parquet", records.ATTRIBUTIONS)
    assert back[0]["grid"] == [0, 1, 2, 3, 4, 5] and (back[0]["grid_height"], back[0]["grid_width"]) == (2, 3)
    assert back[0]["concepts"] == [{"concept": "lung", "box": [1, 2, 3, 4], "effect": 0.5}]
    assert back[0]["note"] == '{"d": 1}' and back[1]["grid"] is None and back[1]["boxes"] == [[0, 0, 1, 1]]


def test_registry():
    known = methods()
    names = "medfocus occlusion rise gradcam gradcampp integrated_gradients attention_head rollout lrp"
    assert {*names.split(), "gradient_attention", "random", "center_box", "whole_film"} <= set(known)
    with pytest.raises(MedgroundError, match=r"unknown method 'gradcamm'; known: .*gradcam"):
        method("gradcamm")
    assert method("rise").with_settings(seed=3).settings["seed"] == 3 and method("rise").settings["seed"] == 0
    grounding = SimpleNamespace(detector="models/d", segmenter="org/s")
    params = SimpleNamespace(seed=9, grounding=grounding, attribute={})
    assert method("rise").configured(params).settings == {**method("rise").settings, "seed": 9}
    assert method("medfocus").configured(params) == method("medfocus")
    asked = method("prompting_medsam").configured(params).settings
    assert asked == {**method("prompting_medsam").settings, "detector": "models/d", "segmenter": "org/s"}
    with pytest.raises(MedgroundError, match="method rise: maskz is unknown; settings are: cells, masks"):
        method("rise").with_settings(maskz=3)


@pytest.mark.parametrize("name", ASKING)
def test_a_batch_equals_one_at_a_time(name, lvlm, items):
    """Every method, on both families: same maps alone and in a batch, of the right shape; nothing left behind."""
    chosen = quick(name)
    together = chosen.attribute(lvlm, items)
    for item, batched in zip(items, together, strict=True):
        alone = chosen.attribute(lvlm, [item])[0]
        assert batched.case_id == item.case_id and batched.forwards == alone.forwards > 0
        if batched.grid is None:
            assert batched.boxes == alone.boxes
            continue
        height, width = item.film.shape
        if chosen.protocol == "published":
            assert batched.extent == Letterbox.fit(width, height, 224).extent
        else:
            assert batched.extent == lvlm.letterbox(width, height).extent
            if chosen.group in ("attention", "gradient"):
                assert batched.grid.shape == lvlm.grid(width, height)
        assert np.allclose(batched.grid, alone.grid, rtol=1e-3, atol=1e-4 * np.abs(alone.grid).max() + 1e-9)
        if name not in ("gradcam_published", "gradcampp_published"):
            assert np.ptp(batched.grid) > 0
    assert_untouched(lvlm)


@pytest.mark.parametrize("name", READING_ANSWERS)
def test_a_constant_model_yields_no_evidence(name, lvlm, items):
    """A head without weights writes every token with the same probability, whatever the film shows."""
    head = lvlm.model.lm_head
    weight = head.weight
    head.weight = torch.nn.Parameter(torch.zeros_like(weight), requires_grad=False)
    try:
        results = quick(name).attribute(lvlm, items)
    finally:
        head.weight = weight
    for result in results:
        if result.grid is not None and name != "rise_published":  # which draws its own noise, as published
            assert not result.grid.any()
        if result.concepts is not None:
            assert all(effect == 0 for *_, effect in result.concepts)
            assert all(effect == 0 for _, effect in result.tokens)


@pytest.mark.parametrize("name", ASKING)
def test_a_failing_forward_leaves_nothing_behind(name, lvlm, items, monkeypatch):
    last = lvlm.layers[-1].mlp
    monkeypatch.setattr(last, "forward", lambda *_: (_ for _ in ()).throw(RuntimeError("out of order")))
    with pytest.raises(RuntimeError, match="out of order"):
        quick(name).attribute(lvlm, items[:1])
    assert_untouched(lvlm)


def test_medfocus_says_what_it_lacks(lvlm, items):
    with pytest.raises(MedgroundError, match="case m/direct/s/0 has no concept boxes"):
        by_entry("medfocus_published").attribute(lvlm, [replace(items[0], concepts=())])
    with pytest.raises(MedgroundError, match="case m/direct/s/0 has no normal film"):
        method("medfocus").attribute(lvlm, [replace(items[0], normal=None)])


def assert_untouched(lvlm):
    assert lvlm.model.config.get_text_config()._attn_implementation == "sdpa"
    for module in lvlm.model.modules():
        ours = [h for hooks in (module._forward_hooks, module._forward_pre_hooks) for h in hooks.values()
                if h.__module__.startswith("medground")]  # fmt: skip
        assert not ours
