"""Reading boxes and names out of whatever a model writes."""

from __future__ import annotations

import numpy as np
import pytest

from medground.attribution import method
from medground.attribution.evidence import parse_boxes, parse_names
from medground.geometry import Letterbox

SQUARE = Letterbox.stretch(2000, 1000, 500, 500)  # a thousandth is 2 native pixels across and 1 down
ONE = [(200.0, 200.0, 600.0, 400.0)]
TWO = [*ONE, (0.0, 0.0, 100.0, 100.0)]

BOXES = {
    "nested lists": ("[[100, 200, 300, 400]]", ONE),
    "two boxes": ("[[100, 200, 300, 400], [0, 0, 50, 100]]", TWO),
    "one flat list": ("[100, 200, 300, 400]", ONE),
    "a flat list of two": ("[100, 200, 300, 400, 0, 0, 50, 100]", TWO),
    "two lists in prose": ("See [100, 200, 300, 400] and also [0, 0, 50, 100].", TWO),
    "fenced JSON": ('```json\n[{"bbox_2d": [100, 200, 300, 400], "label": "effusion 2"}]\n```', ONE),
    "fence without language": ("Sure!\n```\n[[100, 200, 300, 400]]\n```\nHope this helps.", ONE),
    "object": ('{"boxes": [[100, 200, 300, 400]], "confidence": 0.9}', ONE),
    "object of objects": ('{"findings": [{"box": [100, 200, 300, 400]}, {"box": [0, 0, 50, 100]}]}', TWO),
    "named corners": ('[{"x1": 100, "y1": 200, "x2": 300, "y2": 400}]', ONE),
    "xmin": ('{"xmin": 100, "ymin": 200, "xmax": 300, "ymax": 400}', ONE),
    "pair of corners": ("[[[100, 200], [300, 400]]]", ONE),
    "box_2d is y first": ('[{"box_2d": [200, 100, 400, 300], "label": "heart"}]', ONE),
    "shares": ("[[0.1, 0.2, 0.3, 0.4]]", ONE),
    "shares up to 1": ("[[0, 0, 1, 1]]", [(0.0, 0.0, 2000.0, 1000.0)]),
    "floats in thousandths": ("[[100.0, 200.0, 300.0, 400.0]]", ONE),
    "prose": ("The box is 100, 200, 300, 400 in the image.", ONE),
    "prose with words": ("x1: 100, y1: 200, x2: 300, y2: 400", ONE),
    "parentheses": ("(100, 200), (300, 400)", ONE),
    "Qwen's marks": ("<|box_start|>(100,200),(300,400)<|box_end|>", ONE),
    "broken JSON": ("[[100, 200, 300, 400], [0, 0, 50", ONE),
    "single quotes": ("[{'bbox': [100, 200, 300, 400]}]", ONE),
    "corners the wrong way round": ("[[300, 400, 100, 200]]", ONE),
    "the same box twice": ("[[100, 200, 300, 400], [100, 200, 300, 400]]", ONE),
    "beyond the canvas": ("[[900, 900, 1200, 1200]]", [(1800.0, 900.0, 2000.0, 1000.0)]),
    "outside": ("[[1100, 1100, 1200, 1200]]", []),
    "no area": ("[[100, 200, 100, 400]]", []),
    "three numbers": ("[[100, 200, 300]]", []),
    "empty list": ("[]", []),
    "nothing": ("", []),
    "a refusal": ("I cannot find any evidence in this image of 2024.", []),
    "code": ("__import__('os').system('touch owned')", []),
    "infinite": ("[[0, 0, Infinity, NaN]]", []),
    "booleans": ("[[true, false, true, true]]", []),
    "open brackets": ("[" * 5000, []),
    "deep nesting": ("[" * 5000 + "]" * 5000, []),
    "a bracket that never closes": ("[see [[100, 200, 300, 400]]", ONE),
    "brackets that do not match": ("{[100, 200, 300, 400}", ONE),
}


@pytest.mark.parametrize("text, expected", BOXES.values(), ids=BOXES.keys())
def test_boxes(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = parse_boxes(text, SQUARE)
    assert len(found) == len(expected) and np.allclose(found, expected) if expected else found == []
    assert not any(tmp_path.iterdir())


def test_padding_is_cut_off():
    """A film twice as high as wide on a square canvas: a quarter of the canvas on either side is not film."""
    letterbox = Letterbox.fit(100, 200, 400)
    assert parse_boxes("[[0, 0, 500, 500]]", letterbox) == [(0.0, 0.0, 50.0, 100.0)]
    assert parse_boxes("[[0, 0, 250, 1000]]", letterbox) == []


NAMES = {
    "a list": ("left lung, right lung", ["left lung", "right lung"]),
    "JSON": ('```json\n["Left Lung", "cardiac silhouette"]\n```', ["left lung", "cardiac silhouette"]),
    "objects": ('{"regions": [{"name": "Left lung"}]}', ["left lung"]),
    "bullets": ("The regions are:\n- **Left lung**\n- the right hilum.", ["left lung", "right hilum"]),
    "numbered": ("1. left lung\n2) mediastinum", ["left lung", "mediastinum"]),
    "and": ("Left lung and right lung.", ["left lung", "right lung"]),
    "pairs stay": ("both lungs", ["both lungs"]),
    "repeated": ("heart, Heart", ["heart"]),
    "none": ("None.", []),
    "empty": ("", []),
    "prose": ("It is hard to say from this one image alone what the underlying cause would be", []),
}


@pytest.mark.parametrize("text, expected", NAMES.values(), ids=NAMES.keys())
def test_names(text, expected):
    assert parse_names(text) == expected


def test_prompting_asks_and_maps_back(lvlm, items, monkeypatch):
    asked = []

    class Said:
        text = "[[0, 0, 500, 500]]"

    def answer(films, prompts, *, max_new_tokens, protocol="medground"):
        asked.extend(prompts)
        return [Said] * len(films)

    monkeypatch.setattr(lvlm, "answer", answer)
    found = method("prompting").attribute(lvlm, items)
    assert all("evidence of cardiomegaly" in prompt and "thousandths" in prompt for prompt in asked)
    for item, result in zip(items, found, strict=True):
        letterbox = lvlm.letterbox(*item.film.shape[::-1])
        middle = letterbox.to_native((0, 0, letterbox.width / 2, letterbox.height / 2))
        assert np.allclose(result.boxes, [np.clip(middle, 0, None)])
        assert result.note == {"text": Said.text} and result.forwards > 1


def test_prompting_for_real_survives_gibberish(lvlm, items):
    """An untrained model writes anything."""
    for result in method("prompting").with_settings(max_new_tokens=8).attribute(lvlm, items):
        assert isinstance(result.boxes, list) and result.forwards > 0 and isinstance(result.note["text"], str)
