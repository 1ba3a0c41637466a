"""Attention methods: closed forms, finite differences in the weights themselves, masks as the model applied them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medground.attribution import method
from medground.attribution.batches import log_likelihood
from medground.attribution.builtin.attention import answer_rows, last_layer, roll_out
from medground.errors import MedgroundError
from medground.lvlm.base import Text


def text_of(answer, length=5):
    return Text(torch.arange(length)[None], torch.arange(2), torch.as_tensor(answer), ["t"] * len(answer))


def causal(layers, length, seed=0):
    weights = torch.rand(layers, 1, 2, length, length, generator=torch.Generator().manual_seed(seed)).tril()
    return tuple(weights / weights.sum(-1, keepdim=True))


def test_rows_are_those_that_predict():
    assert answer_rows(text_of([3, 4]), "predicting").tolist() == [2, 3]
    assert answer_rows(text_of([3, 4]), "answer").tolist() == [3, 4]
    with pytest.raises(MedgroundError, match="unknown rows 'all'"):
        answer_rows(text_of([3]), "all")


def test_rollout_by_hand():
    """Two tokens, one head. (A + I) / 2 is [[1, 0], [1/4, 3/4]] in both layers; its square's last row is 7/16, 9/16."""
    weights = torch.tensor([[1.0, 0.0], [0.5, 0.5]])[None, None]
    assert torch.allclose(roll_out((weights, weights), torch.tensor([1])), torch.tensor([[7 / 16, 9 / 16]]))


def test_rollout_equals_the_product_of_matrices():
    weights, rows = causal(3, 6), torch.tensor([3, 5])
    product = np.eye(6)
    for layer in weights:  # first layer rightmost
        mixed = layer[0].mean(0).double().numpy() + np.eye(6)
        product = mixed / mixed.sum(1, keepdims=True) @ product
    assert np.allclose(roll_out(weights, rows)[0], product[rows].mean(0), atol=1e-6)
    assert np.allclose(roll_out(weights, rows).sum(), 1, atol=1e-6)


def test_last_layer_by_hand():
    weights = causal(2, 4)
    expected = (weights[1][0, 0, [1, 2]] + weights[1][0, 1, [1, 2]]).sum(0) / 4
    assert torch.allclose(last_layer(weights, torch.tensor([1, 2]))[0], expected)


def test_log_likelihood_by_hand():
    logits = torch.tensor([[[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]])
    text = Text(torch.tensor([[0, 0, 2, 0]]), torch.arange(1), torch.tensor([2, 3]), ["a", "b"])
    expected = 2 - np.log(1 + np.e + np.e**2) + 3 - np.log(np.e**3 + 2)
    assert np.isclose(log_likelihood(logits, text).item(), expected, atol=1e-6)


def test_weights_are_the_models_own(lvlm, items):
    """One per query head though keys are shared; rows sum to one; causal, but Gemma's image sees itself whole."""
    item = items[2]
    text = lvlm.text(item.prompt, item.answer, item.film.shape[1], item.film.shape[0])
    with torch.inference_mode():
        weights = lvlm.forward(lvlm.canvas([item.film]), text, attentions=True).attentions
    config = lvlm.model.config.get_text_config()
    length = text.input_ids.shape[1]
    assert config.num_key_value_heads < config.num_attention_heads
    assert [w.shape for w in weights] == [(1, config.num_attention_heads, length, length)] * config.num_hidden_layers
    ahead = torch.ones(length, length, dtype=bool).triu(1)
    inside = torch.zeros(length, dtype=bool)
    inside[text.image] = True
    both = inside[:, None] & inside
    for layer in weights:
        assert torch.allclose(layer.sum(-1), torch.tensor(1.0), atol=1e-5)
        assert not layer[..., ahead & ~both].any()
        assert bool(layer[..., ahead & both].all()) == (lvlm.family == "gemma3")


def test_rollout_respects_a_sliding_window(lvlm, items):
    """With windows of 4, two layers reach at most 6 words back: the image is out of the answer's sight."""
    if lvlm.family != "gemma3":
        pytest.skip("only Gemma 3 slides")
    item, config = items[0], lvlm.model.config.get_text_config()
    attention = [layer.self_attn for layer in lvlm.layers]
    before = config.sliding_window, list(config.layer_types)
    try:
        config.sliding_window, config.layer_types = 4, ["sliding_attention"] * len(attention)
        maps = method("rollout").attribute(lvlm, [replace(item, answer="Yes.")])
    finally:
        config.sliding_window, config.layer_types = before
    assert not maps[0].grid.any()
    assert method("rollout").attribute(lvlm, [item])[0].grid.all()


def test_gradient_attention_against_finite_differences(lvlm, items, monkeypatch):
    """Add a little to one weight of the last layer, and the log-likelihood moves by the gradient that the map holds."""
    item = replace(items[0], answer="Yes")
    height, width = item.film.shape
    text = lvlm.text(item.prompt, item.answer, width, height)
    canvas = lvlm.canvas([item.film])
    assert len(text.answer) == 1
    row, column, heads = int(text.rows[0]), int(text.image[17]), lvlm.model.config.get_text_config().num_attention_heads

    def score(push):
        with torch.inference_mode(), pushed(lvlm, monkeypatch, push):
            return log_likelihood(lvlm.forward(canvas, text, attentions=True).logits, text).item()

    weights = lvlm.forward(canvas, text, attentions=True).attentions[-1][0, :, row, column]
    step, expected = 0.05, []
    for head in range(heads):
        up, down = score((head, row, column, step)), score((head, row, column, -step))
        expected.append(max(0.0, (up - down) / (2 * step)) * weights[head].item())
    found = method("gradient_attention").attribute(lvlm, [item])[0].grid.ravel()[17]
    assert np.isclose(found, np.mean(expected), rtol=0.02, atol=1e-6) and found > 0
    own = method("gradient_attention").attribute(lvlm, [item], rows="answer")[0].grid
    assert not own.any()  # the only answer token's own row is read by nothing


def pushed(lvlm, monkeypatch, push):
    """Eager attention whose last layer's weight [head, row, column] is larger by a step."""
    import sys

    module = sys.modules[type(lvlm.layers[-1].self_attn).__module__]
    original, last = module.eager_attention_forward, lvlm.layers[-1].self_attn
    head, row, column, step = push

    def attention(layer, query, key, value, mask, **kwargs):
        output, weights = original(layer, query, key, value, mask, **kwargs)
        if layer is last:
            weights = weights.clone()
            weights[0, head, row, column] += step
            repeat = query.shape[1] // value.shape[1]
            output = (weights @ value.repeat_interleave(repeat, 1)).transpose(1, 2)
        return output, weights

    context = monkeypatch.context()
    patch = context.__enter__()
    patch.setattr(module, "eager_attention_forward", attention)

    class Undo:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return context.__exit__(*error)

    return Undo()
