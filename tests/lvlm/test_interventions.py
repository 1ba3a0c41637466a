"""Masked log-probabilities against closed forms, against one-at-a-time runs, and against masking the film itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medground.errors import MedgroundError
from medground.geometry import Letterbox
from medground.lvlm.base import Text
from medground.lvlm.interventions import FILLS, Intervention, canvas_masks, drops, filled, intervene
from medground.phantom.lvlms.architecture import build

WORDS = ["Is there evidence of cardiomegaly in the image?", "Yes.", "The heart is wide. Yes."]


class Ramp:
    """log p of token t is -(t + 1) times the sum of the canvas: everything can be computed by hand."""

    device = torch.device("cpu")

    def __init__(self):
        self.batches = []

    def canvas(self, films):
        return torch.from_numpy(np.stack(films)).float() / 255

    def text(self, tokens):
        return Text(torch.zeros(1, 5, dtype=int), torch.arange(2), torch.arange(5 - tokens, 5), ["a"] * tokens)

    def log_probs(self, canvas, text):
        self.batches.append(len(canvas))
        return -canvas.sum((1, 2))[:, None] * torch.arange(1, len(text.answer) + 1)


@pytest.fixture(scope="module", params=["gemma3", "qwen2_5_vl"])
def lvlm(request):
    torch.set_num_threads(1)
    return build(request.param, WORDS, seed=2).adapter(request.param)


def film(seed, height, width):
    return np.random.default_rng(seed).integers(1, 255, (height, width), dtype=np.uint8)


def test_drops_in_closed_form():
    picture, masks = film(0, 6, 4), np.zeros((2, 6, 4), bool)
    masks[0, :2], masks[1, :, 3] = True, True
    expected = np.array([picture[:2].sum(), picture[:, 3].sum()])[:, None] / -255.0 * [1, 2]
    assert np.allclose(drops(Ramp(), picture, Ramp().text(2), masks), expected, rtol=1e-5)
    grey = drops(Ramp(), picture, Ramp().text(2), masks, 0.5)
    assert np.allclose(grey, expected + np.array([[8], [6]]) * 0.5 * [1, 2], rtol=1e-5)


def test_cases_share_batches_and_come_back_in_order():
    lvlm, rng = Ramp(), np.random.default_rng(1)
    cases = [
        Intervention(lvlm.canvas([film(n, 6, 4)])[0], lvlm.text(1 + n % 2), rng.random((n, 6, 4)) < 0.5)
        for n in range(5)
    ]
    together = intervene(lvlm, cases)
    assert lvlm.batches == [9, 6]  # texts of one token: cases 0, 2, 4; of two: 1, 3; each with its own film
    for case, (original, masked) in zip(cases, together, strict=True):
        alone = intervene(Ramp(), [case])[0]
        assert np.array_equal(original, alone[0]) and np.array_equal(masked, alone[1])
        assert masked.shape == (len(case.masks), len(case.text.answer))


def test_chunks_do_not_change_the_result(monkeypatch):
    masks = np.random.default_rng(0).random((23, 6, 4)) < 0.5
    whole = drops(Ramp(), film(0, 6, 4), Ramp().text(1), masks)
    monkeypatch.setattr("medground.lvlm.interventions._PIXELS", 5 * 24)
    lvlm = Ramp()
    assert np.allclose(drops(lvlm, film(0, 6, 4), lvlm.text(1), masks), whole)
    assert max(lvlm.batches) < 12 and sum(lvlm.batches) == 24


def test_what_several_cases_show_is_looked_at_once_and_answered_as_if_alone(lvlm, monkeypatch):
    """Both modes of a film share its untouched canvas and two masks; another film and a third mask are their own."""
    canvases = lvlm.canvas([film(3, 60, 50), film(4, 60, 50)])
    texts = [lvlm.text(WORDS[0], answer, 50, 60) for answer in WORDS[1:]]
    boxes = [[(5, 5, 25, 30)], [(20, 10, 45, 55)], [(0, 0, 50, 20)]]
    masks = canvas_masks(lvlm.letterbox(50, 60), boxes)
    fills = torch.rand(2, *canvases.shape[1:])
    cases = [
        Intervention(canvases[0], texts[0], masks),
        Intervention(canvases[0].clone(), texts[1], masks[:2]),
        Intervention(canvases[1], texts[1], masks[1:]),
        Intervention(canvases[0], texts[0], masks[:2], fills),
        Intervention(canvases[0], texts[1], masks[:2], fills.flip(0)),
    ]
    looks = []
    tower = lvlm.model.model.get_image_features
    monkeypatch.setattr(
        lvlm.model.model, "get_image_features", lambda *a, **k: looks.append(_films(lvlm, *a, **k)) or tower(*a, **k)
    )
    together, once = intervene(lvlm, cases), sum(looks)
    looks.clear()
    alone = [intervene(lvlm, [case])[0] for case in cases]
    assert sum(looks) == sum(1 + len(case.masks) for case in cases) == 16
    assert once == 4 + 3 + 4  # the first film and its masks; the second with its own; fills that differ by mask
    for (original, masked), (own, own_masked) in zip(together, alone, strict=True):
        assert np.allclose(original, own, atol=1e-5) and np.allclose(masked, own_masked, atol=1e-5)
    assert np.abs(together[3][1] - together[0][1][:2]).max() > 1e-3


def test_films_of_as_many_tokens_in_another_shape_keep_their_own_text(lvlm):
    """Upright and across: the same tokens, which stand for other places."""
    cases = []
    for number, (height, width) in enumerate([(84, 56), (56, 84)]):
        text = lvlm.text(WORDS[0], WORDS[1], width, height)
        masks = canvas_masks(lvlm.letterbox(width, height), [[(5, 5, 40, 40)]])
        cases.append(Intervention(lvlm.canvas([film(number, height, width)])[0], text, masks))
    assert torch.equal(cases[0].text.input_ids, cases[1].text.input_ids)
    alone = [intervene(lvlm, [case])[0] for case in cases]
    for (original, masked), (own, own_masked) in zip(intervene(lvlm, cases), alone, strict=True):
        assert np.allclose(original, own, atol=1e-5) and np.allclose(masked, own_masked, atol=1e-5)


def _films(lvlm, pixel_values, image_grid_thw=None, **_):
    return len(pixel_values) if image_grid_thw is None else len(image_grid_thw)


def test_equals_masking_the_film_itself(lvlm):
    """On a film of canvas size the two are the same pixels; otherwise they differ only along the mask's border."""
    size = lvlm.letterbox(120, 120)
    picture = film(3, size.height, size.width)
    text = lvlm.text(WORDS[0], WORDS[2], size.width, size.height)
    masks = canvas_masks(lvlm.letterbox(*picture.shape[::-1]), [[(10, 20, 60, 90)], [(0, 0, 30, 30), (70, 70, 99, 99)]])
    hidden = [np.where(mask, 0, picture).astype(np.uint8) for mask in masks]
    one_by_one = [lvlm.log_probs(lvlm.canvas([p]), text)[0].double().numpy() for p in [picture, *hidden]]
    assert np.allclose(drops(lvlm, picture, text, masks), one_by_one[0] - np.stack(one_by_one[1:]), atol=2e-5), (
        "masking canvas pixels must equal masking the film"
    )
    assert np.abs(drops(lvlm, picture, text, masks)).max() > 1e-3


def test_differs_from_masking_a_larger_film_only_at_the_border(lvlm):
    picture, box = film(4, 300, 260), (50, 60, 170, 200)
    letterbox = lvlm.letterbox(260, 300)
    hidden = picture.copy()
    hidden[60:200, 50:170] = 0
    on_film = lvlm.canvas([hidden])[0]
    on_canvas = filled(lvlm.canvas([picture])[0], torch.from_numpy(canvas_masks(letterbox, [[box]])), 0.0)[0]
    rows, columns = np.nonzero((on_film - on_canvas).abs().numpy() > 0.01)
    x1, y1, x2, y2 = letterbox.to_canvas(box)
    to_border = np.minimum(np.minimum(abs(columns + 0.5 - x1), abs(columns + 0.5 - x2)),
                           np.minimum(abs(rows + 0.5 - y1), abs(rows + 0.5 - y2)))  # fmt: skip
    assert len(rows) > 0 and to_border.max() < 3


@pytest.mark.parametrize("name", FILLS)
def test_fills_keep_what_is_left_and_a_flat_film_flat(name):
    canvas = torch.rand(24, 20) * 0.8 + 0.1
    masks = torch.zeros(3, 24, 20, dtype=bool)
    masks[0, 4:10, 5:9], masks[1, 6:], masks[2, :, :] = True, True, True
    masks[2, 0, 0] = False
    result = filled(canvas, masks, name)
    assert torch.equal(result[~masks], canvas.expand(3, -1, -1)[~masks])
    assert result.min() >= 0 and result.max() <= 1 and result.isfinite().all()
    if name != "black":
        assert torch.allclose(filled(torch.full((24, 20), 0.3), masks, name), torch.tensor(0.3), atol=1e-5)


def test_surround_ignores_what_it_replaces():
    canvas, masks = torch.rand(30, 30), torch.zeros(1, 30, 30, dtype=bool)
    masks[0, 10:20, 10:20] = True
    changed = torch.where(masks[0], 1 - canvas, canvas)
    assert torch.equal(filled(canvas, masks, "surround"), filled(changed, masks, "surround"))


def test_regions_with_several_boxes_in_a_letterbox():
    letterbox = Letterbox.fit(100, 200, 20)  # a tenth of the size, 5 columns of padding on either side
    masks = canvas_masks(letterbox, [[(0, 0, 100, 200)], [(0, 0, 20, 20), (80, 180, 100, 200)], []])
    assert masks[0].sum() == 200 and masks[0][:, 5:15].all()
    assert masks[1].sum() == 8 and masks[1][:2, 5:7].all() and masks[1][18:, 13:15].all()
    assert not masks[2].any() and canvas_masks(letterbox, []).shape == (0, 20, 20)


def test_unknown_fill():
    with pytest.raises(MedgroundError, match="unknown fill 'grey'; known: black"):
        filled(torch.zeros(4, 4), torch.zeros(1, 4, 4, dtype=bool), "grey")
