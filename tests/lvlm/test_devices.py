"""Every method, prompting included, on a device whose tensors refuse those of the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from medground.attribution import entries
from medground.grounding.detector import Detector
from medground.grounding.segmenter import MedSAM
from medground.phantom.lvlms.architecture import build
from medground.testing.method import LONGER, QUESTION, cases

sys.path.insert(0, str(Path(__file__).parents[1]))
from devices import DEVICE, Everywhere, Far, moved

MODELS = Path(__file__).parents[2] / "models"
QUICK = {"cells": 2, "masks": 3, "steps": 2, "max_new_tokens": 3}
pytestmark = pytest.mark.slow
METHODS = sorted(name for name, one in entries().items() if "model" in one.needs)


def adapter(family: str):
    torch.set_num_threads(1)
    return build(family, [QUESTION, "Yes.", LONGER], seed=1)


@pytest.fixture(scope="module", params=["gemma3", "qwen2_5_vl"])
def pair(request):
    """The same model twice: here, and on the device."""
    here, there = adapter(request.param), adapter(request.param)
    moved(there.model)
    with Everywhere():
        lvlm = there.adapter(request.param)
    assert lvlm.device == DEVICE
    return here.adapter(request.param), lvlm


@pytest.fixture(scope="module")
def eyes():
    detectors = [Detector.load(str(MODELS / "phantom-owlvit")) for _ in range(2)]
    segmenters = [MedSAM.load(str(MODELS / "phantom-sam")) for _ in range(2)]
    for one in (detectors[1], segmenters[1]):
        moved(one.model)
    return detectors, segmenters


def test_the_device_refuses_what_cuda_refuses():
    here = torch.arange(6.0).reshape(2, 3)
    with Everywhere():
        there = here.to(DEVICE)
        assert type(there) is Far and there.device == DEVICE and here.device.type == "cpu"
        assert torch.zeros(2, device=DEVICE).device == DEVICE == torch.tensor([1], device=DEVICE).device
        mixes = (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: torch.where(here > 1, there, there),
            lambda: torch.nn.functional.embedding(torch.tensor([0, 1]), there),
            lambda: here[there[0].long()],
        )
        for mixed in mixes:
            with pytest.raises(RuntimeError, match="of the device and of the CPU"):
                mixed()
        with pytest.raises(TypeError, match=r"use Tensor\.cpu"):
            there.numpy()
        with pytest.raises(TypeError, match=r"use Tensor\.cpu"):
            np.asarray(there)
        assert np.array_equal((2 * there + torch.tensor(1.0)).cpu().numpy(), 2 * here.numpy() + 1)
        assert type(there[torch.tensor([0])]) is Far and type(there.cpu()) is torch.Tensor
        assert there.tolist() == here.tolist() and there.sum().item() == 15
    slope = there.clone().requires_grad_()
    (found,) = torch.autograd.grad((slope**2).sum(), slope)
    assert type(found) is Far


@pytest.mark.parametrize("name", METHODS)
def test_every_method_stays_on_the_device(name, pair, eyes, monkeypatch):
    """It says there what it says here."""
    from medground.attribution.builtin import prompting, published

    method = entries()[name]
    method = method.with_settings(**{key: value for key, value in QUICK.items() if key in method.settings})
    if "detector" in method.needs:  # a model with random weights names nothing
        monkeypatch.setattr(prompting, "parse_names", lambda text: ["left lung", "cardiac silhouette"])
        monkeypatch.setattr(published, "_list", lambda text: ["left lung", "cardiac silhouette"])
    if name == "occlusion_published":
        monkeypatch.setattr(published, "CELLS", 2)
    said, items = [], cases()[1:]  # of different lengths and shapes
    for place, lvlm in enumerate(pair):
        for module in (prompting, published):
            monkeypatch.setattr(module, "load_detector", lambda where, place=place: eyes[0][place])
            monkeypatch.setattr(module, "load_segmenter", lambda where, place=place: eyes[1][place])
        if place:
            with Everywhere():
                said.append(method.attribute(lvlm, items))
        else:
            said.append(method.attribute(lvlm, items))
    for here, there in zip(*said, strict=True):
        if here.grid is None:
            assert here.boxes == there.boxes
        else:
            np.testing.assert_allclose(there.grid, here.grid, atol=1e-6, rtol=1e-4)


def test_answers_are_the_same_on_the_device(pair):
    here, there = pair
    films, asked = [item.film for item in cases()], [item.prompt for item in cases()]
    with Everywhere():
        found = there.answer(films, asked, max_new_tokens=4)
    for one, other in zip(here.answer(films, asked, max_new_tokens=4), found, strict=True):
        assert (one.text, one.verdict) == (other.text, other.verdict)
        assert one.margin == pytest.approx(other.margin, abs=1e-5)
