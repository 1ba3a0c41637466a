"""MedFocus on a model whose cause is known: the answer's likelihood is a function of the gray in chosen places."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from medground.attribution import Item, by_entry, method
from medground.attribution.builtin.medfocus import PAIRS, RULES, Effects, candidates
from medground.errors import MedgroundError
from medground.geometry import Letterbox
from medground.lvlm.base import Text

LEFT, RIGHT, HEART = (60.0, 20.0, 90.0, 80.0), (10.0, 20.0, 40.0, 80.0), (40.0, 60.0, 60.0, 90.0)
CONCEPTS = (("left lung", LEFT), ("right lung", RIGHT), ("cardiac silhouette", HEART))


class Sees:
    """log p of the tokens "Left", "lung": -10 and -1 times the share of black in the box ``where`` (canvas = film)."""

    def __init__(self, where):
        self.where, self.forwards = where, 0

    def letterbox(self, width, height):
        return Letterbox.stretch(width, height, width, height)

    def canvas(self, films):
        return torch.from_numpy(np.stack(films)) / 255.0

    def text(self, *_):
        return Text(torch.zeros(1, 3, dtype=int), torch.arange(1), torch.arange(1, 3), ["Left", " lung"])

    def log_probs(self, canvas, text):
        self.forwards += len(canvas)
        x1, y1, x2, y2 = map(int, self.where)
        black = 1 - canvas[:, y1:y2, x1:x2].mean((1, 2))
        return -black[:, None] * torch.tensor([10.0, 1.0])


def case(concepts=CONCEPTS):
    return Item("m/direct/s/0", np.full((100, 100), 255, np.uint8), "q", "Left lung", "f", concepts)


def run(name, where, concepts=CONCEPTS, **settings):
    lvlm = Sees(where)
    found = by_entry(name).with_settings(**settings).attribute(lvlm, [case(concepts)])[0]
    assert found.forwards == lvlm.forwards
    return found


DROP = {"rule": "drop", "fill": "black", "tau": 0.75}


def test_the_papers_rule_in_closed_form():
    found = run("medfocus", LEFT, **DROP)
    assert found.boxes == [LEFT] and found.note == {"region": "left lung"}
    assert [name for name, *_ in found.concepts] == ["left lung", "both lungs", "right lung", "cardiac silhouette"]
    assert np.allclose([effect for *_, effect in found.concepts], [11, 11, 0, 0], atol=1e-4)
    assert found.concepts[1][1] == (10.0, 20.0, 90.0, 80.0)
    assert [token for token, _ in found.tokens] == ["Left", " lung"]
    assert np.allclose([effect for _, effect in found.tokens], [10, 1], atol=1e-4)
    assert found.forwards == 5


@pytest.mark.parametrize("size, whole", [(2, True), (3, False)])
def test_the_whole_film_when_nothing_matters_enough(size, whole):
    """Seeing 100 x 100 pixels, the heart's removal costs 11 nats times its share: exp(-.22) > .75 > exp(-.33)."""
    found = run("medfocus", (0, 0, 100, 100), (("cardiac silhouette", (0.0, 0.0, size * 10.0, 10.0)),), **DROP)
    assert np.isclose(found.concepts[0][2], 11 * size / 100, atol=1e-4)
    assert (found.boxes == [(0.0, 0.0, 100.0, 100.0)]) == whole
    assert found.note == {"region": "whole film" if whole else "cardiac silhouette"}


def test_pairs_are_candidates_where_both_sides_were_found():
    names = [region.name for region in candidates(case())]
    assert names == ["left lung", "right lung", "cardiac silhouette", "both lungs"]
    everything = [(side, LEFT) for pair in PAIRS.values() for side in pair]
    assert len(candidates(case(tuple(everything)))) == 12
    assert [region.name for region in candidates(case(CONCEPTS[:1]))] == ["left lung"]


def test_smallest_prefers_the_region_that_suffices_over_larger_ones():
    concepts = (*CONCEPTS, ("mediastinum", (0.0, 0.0, 100.0, 100.0)))
    assert run("medfocus", LEFT, concepts, rule="smallest", fill="black").boxes == [LEFT]
    assert run("medfocus", (10, 20, 90, 80), rule="drop", fill="black").note == {"region": "both lungs"}


def test_rules_by_hand():
    effects = Effects(
        removed=np.array([[3.0, -1.0], [4.0, 0.0], [0.1, 0.0]]),
        alone=np.array([[0.2, 0.0], [0.1, 0.0], [5.0, 0.0]]),
        share=np.array([0.04, 0.25, 0.01]),
    )
    assert np.allclose(RULES["drop"](effects), [3, 4, 0.1])
    assert np.allclose(RULES["drop_per_side"](effects), [15, 8, 1])
    assert np.allclose(RULES["contrast"](effects), [1.8 / 0.2, 3.9 / 0.5, -49])
    assert np.argsort(-RULES["smallest"](effects)).tolist() == [0, 1, 2]


def test_smallest_without_any_that_passes_takes_the_nearest():
    effects = Effects(np.array([[0.5], [5.0]]), np.array([[0.1], [9.0]]), np.array([0.5, 0.1]))
    assert RULES["smallest"](effects).argmax() == 0


def test_contrast_with_a_normal_film_names_the_cause():
    """The left lung of the film is white where a normal one is black: only exchanging it matters."""
    ill = np.zeros((100, 100), np.uint8)
    ill[20:80, 60:90] = 255
    item = replace(case(), film=ill, normal=np.zeros((100, 100), np.uint8))
    found = method("medfocus").attribute(Sees(LEFT), [item])[0]
    assert found.boxes == [LEFT] and found.note == {"region": "left lung"}
    assert np.allclose([effect for *_, effect in found.concepts], [11, 11, 0, 0], atol=1e-4)
    with pytest.raises(MedgroundError, match="m/direct/s/0 has no normal film"):
        method("medfocus").attribute(Sees(LEFT), [case()])


def test_unknown_rule():
    with pytest.raises(
        MedgroundError, match="rule is 'best'; it must be one of drop, drop_per_side, 'contrast' or 'smallest'"
    ):
        run("medfocus", LEFT, rule="best", fill="black")
