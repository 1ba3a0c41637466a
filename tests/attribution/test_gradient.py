"""Gradient methods against Captum, finite differences, closed forms and conservation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from medground.attribution import method
from medground.attribution.autograd import relevance, states
from medground.attribution.batches import log_likelihood
from medground.attribution.builtin.gradient import cam, cam_plus_plus
from medground.errors import MedgroundError


def asked(lvlm, item):
    height, width = item.film.shape
    return lvlm.canvas([item.film]), lvlm.text(item.prompt, item.answer, width, height)


def test_cam_by_hand():
    state = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])  # two positions, two channels
    slope = torch.tensor([[[0.5, 1.0], [0.5, -3.0]]])  # channel weights 0.5 and -1
    assert torch.allclose(cam(state, slope), torch.tensor([[0.0, 2.5]]))


def test_cam_plus_plus_equals_its_definition_by_higher_derivatives():
    """Eq. 10 and 19 of the paper with second and third derivatives of Y = exp(S), S linear, by autograd."""
    rng = torch.Generator().manual_seed(0)
    state = torch.rand(1, 6, 3, generator=rng, dtype=torch.float64)
    slope = torch.randn(1, 6, 3, generator=rng, dtype=torch.float64)
    expected = torch.zeros(6, dtype=torch.float64)
    for channel in range(3):
        weight = 0.0
        for position in range(6):
            a = state[0, position, channel].clone().requires_grad_()
            y = torch.exp(slope[0, position, channel] * (a - a.detach()))  # exp(S) up to a factor
            first = torch.autograd.grad(y, a, create_graph=True)[0]
            second = torch.autograd.grad(first, a, create_graph=True)[0]
            third = torch.autograd.grad(second, a)[0]
            alpha = second / (2 * second + state[0, :, channel].sum() * third)
            weight = weight + alpha.detach() * first.detach().clamp(min=0)
        expected += weight * state[0, :, channel]
    assert torch.allclose(cam_plus_plus(state, slope)[0], expected)


def test_cam_plus_plus_does_not_depend_on_the_sign_of_a_channel():
    rng = torch.Generator().manual_seed(1)
    state, slope = torch.randn(2, 1, 6, 3, generator=rng)
    flip = torch.tensor([1.0, -1.0, 1.0])
    assert torch.allclose(cam_plus_plus(state, slope), cam_plus_plus(state * flip, slope * flip))
    assert (cam_plus_plus(state * 50, slope * 50) >= 0).all()


@pytest.mark.parametrize("layer", [0, 1])
def test_states_carry_the_true_gradient(layer, lvlm, items):
    """Against central differences along a random direction of one image token's state."""
    canvas, text = asked(lvlm, items[0])
    with torch.enable_grad(), states(lvlm, layer) as seen:
        gain = log_likelihood(lvlm.forward(canvas, text).logits, text).sum()
        (slope,) = torch.autograd.grad(gain, seen)
    token = int(text.image[7])
    direction = torch.randn(slope.shape[-1], generator=torch.Generator().manual_seed(2))
    direction *= seen[0][0, token].norm() / direction.norm() * 0.02

    def moved(sign):
        def push(module, args, kwargs):
            state = (args[0] if args else kwargs["hidden_states"]).clone()
            state[0, token] += sign * direction
            return ((state, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": state})

        handle = lvlm.layers[layer].register_forward_pre_hook(push, with_kwargs=True)
        with torch.inference_mode():
            score = log_likelihood(lvlm.forward(canvas, text).logits, text).item()
        handle.remove()
        return score

    expected = (moved(1) - moved(-1)) / 2
    assert abs(expected) > 1e-6
    assert np.isclose((slope[0, token] * direction).sum().item(), expected, rtol=0.05, atol=2e-6)


@pytest.mark.parametrize("name", ["gradcam", "gradcampp"])
def test_nothing_reads_the_last_states_of_the_image(name, lvlm, items):
    assert not method(name, "published").attribute(lvlm, items[2:])[0].grid.any()


def test_a_shared_offset_of_the_states_does_not_matter_when_centred(lvlm, items):
    """Each channel's mean over the image is no evidence of any place; off it comes."""
    canvas, text = asked(lvlm, items[0])
    with torch.enable_grad(), states(lvlm, 1) as seen:
        (slope,) = torch.autograd.grad(log_likelihood(lvlm.forward(canvas, text).logits, text).sum(), seen)
    state, slope = seen[0].detach()[:, text.image], slope[:, text.image]
    expected = cam(state - state.mean(1, keepdim=True), slope)[0]
    found = method("gradcam").with_settings(layer=1).attribute(lvlm, items[:1])[0].grid.ravel()
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-6 * expected.max().item()) and found.any()


def test_a_layer_that_is_not_there(lvlm, items):
    with pytest.raises(MedgroundError, match="layer 7 is not there"):
        method("gradcam").with_settings(layer=7).attribute(lvlm, items[:1])


def test_lrp_conserves(lvlm, items):
    """Without biases the relevances of all positions add up to the answer's logits: nothing is lost on the way."""
    canvas, text = asked(lvlm, items[2])
    shares, logits = relevance(lvlm, canvas, text)
    biases = [p for n, p in lvlm.model.named_parameters() if "language_model" in n and n.endswith("bias")]
    assert not any(bias.any() for bias in biases)
    with torch.inference_mode():
        plain = lvlm.forward(canvas, text).logits
    picked = plain[0, torch.arange(len(text.answer)), text.input_ids[0, text.answer]].sum()
    assert torch.allclose(logits[0], picked, atol=1e-3), "holding things constant must not change the forward pass"
    assert torch.allclose(shares.sum(1), logits, rtol=1e-3, atol=1e-3) and logits.abs().min() > 0.1
    grid = method("lrp").attribute(lvlm, items[2:])[0].grid
    assert np.allclose(grid.ravel(), shares[0, text.image], atol=1e-6)


@pytest.mark.parametrize(
    "settings", [{}, {"baseline": 0.5, "absolute": True, "tokens": False}], ids=["tokens", "pixels"]
)
def test_integrated_gradients_equal_captum(settings, lvlm, items):
    item = items[2]
    canvas, text = asked(lvlm, item)
    chosen = method("integrated_gradients").with_settings(steps=6, **settings)
    start = torch.full_like(canvas, chosen.settings["baseline"])
    expected = IntegratedGradients(lambda c: log_likelihood(lvlm.forward(c, text).logits, text)).attribute(
        canvas, start, n_steps=6, method="riemann_middle"
    )
    found = chosen.attribute(lvlm, [item])[0]
    if chosen.settings["absolute"]:
        assert np.allclose(found.grid, expected[0].abs(), atol=1e-5) and found.grid.shape == expected[0].shape
    else:
        rows, columns = lvlm.grid(item.film.shape[1], item.film.shape[0])
        cells = expected[0].view(rows, expected.shape[1] // rows, columns, -1).sum((1, 3))
        assert np.allclose(found.grid, cells, atol=1e-4)
    change = (lvlm.log_probs(canvas, text).sum() - lvlm.log_probs(start, text).sum()).item()
    assert np.isclose(found.note["delta"], expected.sum().item() - change, atol=1e-3)
    assert found.forwards == 8


def test_delta_vanishes_with_more_steps(lvlm, items):
    delta = [
        abs(method("integrated_gradients").with_settings(steps=n).attribute(lvlm, items[:1])[0].note["delta"])
        for n in (1, 64)
    ]
    assert delta[1] < 0.3 * delta[0] + 1e-3
