"""MedFocus on models whose cause is known: a logical function of what lies in two chosen boxes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medground.attribution import Attribution, Item
from medground.attribution.builtin import medfocus as module
from medground.attribution.builtin.medfocus import explain, medfocus
from medground.attribution.candidates import PAIRS, regions
from medground.attribution.exchange import components, log_odds, native_boxes
from medground.errors import MedgroundError
from medground.geometry import Letterbox
from medground.lvlm.base import Text
from medground.scoring import box_metrics

LEFT, RIGHT, HEART = (60.0, 20.0, 90.0, 80.0), (10.0, 20.0, 40.0, 80.0), (40.0, 60.0, 60.0, 90.0)
CONCEPTS = (("left lung", LEFT), ("right lung", RIGHT), ("cardiac silhouette", HEART))
FINDING, LETTER = (64.0, 30.0, 80.0, 46.0), (2.0, 2.0, 12.0, 12.0)
SURE, GONE = -1e-4, -8.0  # log p of the answer where its cause is there, and where it is not


class Logical:
    """log p of "Yes" is `SURE` where ``rule(finding there, letter there)`` holds, else `GONE`; "." is always certain.

    A thing is there by the share of its box that is white; the normal film is black there.
    """

    batch_size = 8

    def __init__(self, rule):
        self.rule, self.forwards = rule, 0

    def letterbox(self, width, height):
        return Letterbox.stretch(width, height, width, height)

    def canvas(self, films):
        return torch.from_numpy(np.stack(films)) / 255.0

    def text(self, *_):
        return Text(torch.zeros(1, 3, dtype=int), torch.arange(1), torch.arange(1, 3), ["Yes", "."])

    def log_probs(self, canvas, text):
        self.forwards += len(canvas)
        there = [canvas[:, int(y1) : int(y2), int(x1) : int(x2)].mean((1, 2)) for x1, y1, x2, y2 in (FINDING, LETTER)]
        strength = self.rule(*there)
        return torch.stack([GONE + (SURE - GONE) * strength, torch.full_like(strength, SURE)], 1)


RULES = {
    "finding": lambda finding, letter: finding,
    "letter": lambda finding, letter: letter,
    "both": torch.minimum,
    "either": torch.maximum,
    "global": lambda finding, letter: torch.ones_like(finding),
}


@pytest.fixture
def item():
    film = np.zeros((100, 100), np.uint8)
    for x1, y1, x2, y2 in (FINDING, LETTER):
        film[int(y1) : int(y2), int(x1) : int(x2)] = 255
    return Item("m/direct/s/0", film, "q", "Yes.", "f", CONCEPTS, np.zeros((100, 100), np.uint8))


@pytest.fixture(autouse=True)
def bright_map(monkeypatch):
    """The source of nested parts: a map that is hot where the film is white, at half the film's resolution."""

    class Bright:
        needs, passes = frozenset({"model"}), {"forward": 1}

        def attribute(self, lvlm, items):
            grids = [item.film.reshape(50, 2, 50, 2).mean((1, 3)) / 255 for item in items]
            extent = (0.0, 0.0, 100.0, 100.0)
            return [Attribution(i.case_id, grid, extent) for i, grid in zip(items, grids, strict=True)]

    monkeypatch.setattr(module, "method", lambda name: Bright())


@pytest.mark.parametrize(
    ("rule", "verdict", "region"),
    [
        ("finding", "anatomy", "left lung"),
        ("letter", "elsewhere", None),
        ("both", "several", None),
        ("either", "several", None),
        ("global", "not local", None),
    ],
)
def test_the_verdict_follows_the_cause(item, rule, verdict, region):
    found = medfocus(Logical(RULES[rule]), [item], output="evidence")[0]
    assert (found.note["verdict"], found.note["region"]) == (verdict, region)


@pytest.mark.parametrize(("rule", "causes"), [("finding", [FINDING]), ("letter", [LETTER])])
def test_the_evidence_is_the_cause(item, rule, causes):
    found = medfocus(Logical(RULES[rule]), [item], output="evidence")[0]
    assert box_metrics(found.boxes, causes)["iou"] > 0.7
    assert found.note["contrast"] == pytest.approx(1, abs=0.05)
    lost = dict(found.tokens)
    assert lost["Yes"] == pytest.approx(SURE - GONE, rel=0.05) and lost["."] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("rule", "together"), [("both", True), ("either", False)])
def test_coalitions_of_two_are_found_and_told_apart(item, rule, together):
    found = medfocus(Logical(RULES[rule]), [item], output="evidence")[0]
    assert found.note["together"] is together
    assert box_metrics(found.boxes, [FINDING, LETTER])["iou"] > 0.6


@pytest.mark.parametrize("rule", ["both", "either"])
def test_a_coalition_is_found_by_anatomy_alone(item, rule):
    """No map proposes anything: the lung that holds the finding, and what lies outside the anatomy, are joined."""
    found = explain(Logical(RULES[rule]), [item], sources=())[0]
    assert found.verdict == "several"
    assert {some.part.name for some in found.evidence} == {"left lung", "outside the anatomy"}


def test_no_region_is_named_whose_effect_is_not_positive(item):
    for rule in ("letter", "global"):
        found = explain(Logical(RULES[rule]), [item], sources=())[0]
        assert found.concept is None
    effects = dict((name, effect) for name, _, effect in medfocus(Logical(RULES["letter"]), [item])[0].concepts)
    assert all(effect < 0 for effect in effects.values()) and set(effects) >= {"left lung", "both lungs"}


def test_labels_of_regions_are_answered_with_the_region(item):
    lvlm = Logical(RULES["finding"])
    assert medfocus(lvlm, [replace(item, labels="region")])[0].boxes == [LEFT]
    assert medfocus(lvlm, [replace(item, labels="finding")])[0].boxes != [LEFT]
    elsewhere = medfocus(Logical(RULES["letter"]), [replace(item, labels="region")])[0]
    assert box_metrics(elsewhere.boxes, [LETTER])["iou"] > 0.7


def test_forwards_are_counted(item):
    lvlm = Logical(RULES["both"])
    found = medfocus(lvlm, [item, item])
    assert sum(one.forwards for one in found) == lvlm.forwards


def test_where_nothing_carries_the_answer_no_map_is_asked_for_but_effects_are_shown(item):
    lvlm = Logical(RULES["global"])
    found = medfocus(lvlm, [item])[0]
    parts = len(CONCEPTS) + 1 + 1  # a pair, and what lies outside the anatomy
    assert (found.boxes, found.forwards, lvlm.forwards) == ([], 3 + 2 * parts, 3 + 2 * parts)
    assert [effect for *_, effect in found.concepts] == pytest.approx([0] * (len(CONCEPTS) + 1), abs=1e-6)


def test_a_missing_normal_film_is_named(item):
    with pytest.raises(MedgroundError, match="m/direct/s/0 has no normal film"):
        medfocus(Logical(RULES["finding"]), [replace(item, normal=None)])


def test_log_odds_in_closed_form():
    assert log_odds(np.log([0.5, 0.9, 0.1])) == pytest.approx([0, math.log(9), -math.log(9)])
    assert np.isfinite(log_odds(np.array([0.0]))).all()


def test_components_leave_out_crumbs():
    mask = np.zeros((20, 20), bool)
    mask[:10, :10], mask[15, 15] = True, True
    assert [int(part.sum()) for part in components(mask, 0.1)] == [100]
    assert native_boxes(mask, Letterbox.stretch(40, 40, 20, 20), 0.1) == [(0, 0, 20, 20)]


def test_pairs_are_candidates_where_both_sides_were_found():
    names = [name for name, _ in regions(CONCEPTS)]
    assert names == ["left lung", "right lung", "cardiac silhouette", "both lungs"]
    everything = [(side, LEFT) for pair in PAIRS.values() for side in pair]
    assert len(regions(everything)) == 12
    assert [name for name, _ in regions(CONCEPTS[:1])] == ["left lung"]
