"""MedFocus on models whose cause is known: a logical function of what lies in two chosen boxes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from medground.attribution import Attribution, Item, candidates, exchange
from medground.attribution.builtin import medfocus as module
from medground.attribution.builtin.medfocus import explain, medfocus
from medground.attribution.candidates import PAIRS, regions
from medground.attribution.exchange import Film, components, log_odds, native_boxes
from medground.errors import MedgroundError
from medground.geometry import Letterbox, box_of, fill
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
    assert found.note["effect"] == pytest.approx(1, abs=0.05)
    lost = dict(found.tokens)
    assert lost["Yes"] == pytest.approx(SURE - GONE, rel=0.05) and lost["."] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("rule", "together"), [("both", True), ("either", False)])
def test_coalitions_of_two_are_found_and_told_apart(item, rule, together):
    found = medfocus(Logical(RULES[rule]), [item], output="evidence")[0]
    assert found.note["together"] is together
    assert box_metrics(found.boxes, [FINDING, LETTER])["iou"] > 0.6


@pytest.mark.parametrize("rule", ["both", "either"])
def test_a_coalition_is_found_by_anatomy_alone(item, rule):
    """No map proposes anything: the regions that hold the finding and the letter are joined."""
    small = (("left hilar structures", (60.0, 26.0, 84.0, 50.0)), ("right clavicle", (0.0, 0.0, 20.0, 15.0)))
    found = explain(Logical(RULES[rule]), [replace(item, concepts=small)], sources=())[0]
    assert found.verdict == "several"
    assert {some.part.name for some in found.evidence} == {"left hilar structures", "right clavicle"}


def test_what_takes_more_than_a_place_is_not_local(item):
    """Both lungs together carry the answer, neither does alone, and they are no place."""
    wide = (("left lung", (50.0, 0.0, 100.0, 80.0)), ("right lung", (0.0, 0.0, 50.0, 80.0)))
    found = explain(Logical(RULES["both"]), [replace(item, concepts=wide)], sources=())[0]
    assert found.verdict == "not local" and found.concept is None
    carrying = [some.part.name for some in found.concepts if some.carries(found.tests.most)]
    assert carrying == ["both lungs"]  # which is found and shown among the concepts, all the same


def test_a_part_that_is_necessary_and_does_not_suffice_is_named_and_said_to_need_others(item):
    """The answer needs the finding and the lower right corner, which no source proposes."""

    class Whole(Logical):
        def log_probs(self, canvas, text):
            film = torch.from_numpy(item.film) / 255.0
            said = super().log_probs(canvas, text)
            said[(canvas[:, 90:, 90:] != film[90:, 90:]).any(2).any(1), 0] = GONE
            return said

    normal = item.normal.copy()
    normal[90:, 90:] = 9
    found = medfocus(Whole(RULES["finding"]), [replace(item, normal=normal)], output="evidence")[0]
    assert (found.note["verdict"], found.note["together"], len(found.note["parts"])) == ("several", True, 1)
    assert box_metrics(found.boxes, [FINDING])["iou"] > 0.7


@pytest.mark.parametrize("drawn", [(slice(10, 90), slice(95, 98)), (slice(4, 7), slice(10, 60))])
def test_a_narrow_mark_that_no_map_points_at_is_found(item, drawn):
    """A wire and a line of writing: the map is cold there, the anatomy is elsewhere."""
    film = item.film.copy()
    film[drawn] = 200

    class Marked(Logical):
        def log_probs(self, canvas, text):
            there = (canvas[:, drawn[0], drawn[1]].mean((1, 2)) / (200 / 255)).clamp(0, 1)
            self.forwards += len(canvas)
            return torch.stack([GONE + (SURE - GONE) * there, torch.full_like(there, SURE)], 1)

    found = explain(Marked(None), [replace(item, film=film)], sources=())[0]
    assert found.verdict == "elsewhere" and [some.part.source for some in found.evidence] == ["mark"]
    cause = np.zeros(film.shape, bool)
    cause[drawn] = True
    mask = found.evidence[0].part.mask
    assert (mask & cause).sum() > 0.95 * cause.sum() and mask.sum() < 2.2 * cause.sum()


def _film(canvas, normal):
    height, width = canvas.shape
    gray = [torch.from_numpy(one) / 255.0 for one in (canvas, normal)]
    return Film(*gray, None, Letterbox.stretch(width, height, width, height), np.ones(canvas.shape, bool))


def test_marks_are_narrow_bright_and_not_on_the_normal_film_at_most_so_many():
    film = np.full((200, 200), 60, np.uint8)
    film[50:90, 50:90] = 200  # a wide opacity
    film[20, 20] = 255  # a speck
    assert [part.mask.sum() for part in candidates.marks(_film(film, np.full_like(film, 60)))] == [5]
    film[120:124, 20:180] = 200
    assert candidates.marks(_film(film, film)) == []
    (line, speck) = candidates.marks(_film(film, np.full_like(film, 60)))
    assert line.mask[120:124, 20:180].all() and line.mask.sum() < 6 * 162 + 1 and speck.mask.sum() == 5
    specks = np.full((200, 200), 60, np.uint8)
    specks[10::20, 10::20] = np.linspace(100, 255, 100).reshape(10, 10).astype(np.uint8)
    found = candidates.marks(_film(specks, np.full_like(specks, 60)))
    assert len(found) == candidates.MARKS
    assert [int(specks[part.mask].max()) for part in found] == sorted(specks.ravel())[:-7:-1]  # the brightest first


def test_boxes_that_a_method_prints_are_put_to_the_test(item, monkeypatch):
    """A bad pointing costs forwards, a good one is found; without boxes nothing is proposed."""

    class Pointing:
        needs, passes = frozenset({"model"}), {"generation": 1}

        def __init__(self, boxes):
            self.boxes = boxes

        def attribute(self, lvlm, items):
            return [Attribution(item.case_id, boxes=self.boxes) for item in items]

    seen = {}
    for name, boxes in {"none": [], "bad": [(20.0, 60.0, 30.0, 70.0)], "good": [(0.0, 0.0, 9.0, 9.0), LETTER]}.items():
        monkeypatch.setattr(module, "method", lambda name, boxes=boxes: Pointing(boxes))
        seen[name] = explain(Logical(RULES["letter"]), [replace(item, concepts=CONCEPTS)], sources=("prompting",))[0]
    assert seen["good"].evidence[0].part.name == "prompting, box 2"
    assert seen["bad"].verdict == seen["none"].verdict and seen["bad"].tests.forwards > seen["none"].tests.forwards
    assert {s.part.name for s in seen["good"].tests.tested if s.part.source == "box"} >= {"prompting, all boxes"}


def test_one_organ_is_a_place_whatever_its_size(item):
    wide = (("left lung", (50.0, 0.0, 100.0, 80.0)),)
    found = explain(Logical(RULES["finding"]), [replace(item, concepts=wide)], sources=())[0]
    assert (found.verdict, found.concept.part.name) == ("anatomy", "left lung")


def test_no_region_is_named_whose_effect_is_not_positive(item):
    for rule in ("letter", "global"):
        found = explain(Logical(RULES[rule]), [item], sources=())[0]
        assert found.concept is None
    effects = {name: effect for name, _, effect in medfocus(Logical(RULES["letter"]), [item])[0].concepts}
    assert effects == pytest.approx(dict.fromkeys(effects, 0), abs=1e-6) and set(effects) >= {"left lung", "both lungs"}


def test_an_effect_is_negative_where_a_region_speaks_against_the_answer(item):
    against = Logical(lambda finding, letter: torch.clamp(finding - 0.5 * letter, 0, 1))
    small = (("left lung", LEFT), ("right clavicle", (0.0, 0.0, 20.0, 15.0)))
    effects = {name: effect for name, _, effect in medfocus(against, [replace(item, concepts=small)])[0].concepts}
    assert effects["left lung"] == pytest.approx(4, abs=0.01) and effects["right clavicle"] == pytest.approx(
        -4, abs=0.01
    )


def test_of_the_regions_that_carry_the_answer_the_one_is_named_that_the_evidence_fits(item):
    near = (*CONCEPTS, ("left hilar structures", (62.0, 28.0, 82.0, 48.0)))
    found = explain(Logical(RULES["finding"]), [replace(item, concepts=near)], sources=("bright",))[0]
    carrying = {some.part.name for some in found.concepts if some.carries(found.tests.most)}
    assert carrying == {"left lung", "both lungs", "left hilar structures"}
    assert found.concept.part.name == "left hilar structures"


def test_a_normal_film_that_moves_the_model_is_no_measure_of_what_matters(item):
    """The model says yes to the normal film, too: what the answer loses is read against the most of any exchange."""
    normal = item.normal.copy()
    normal[90:, :10] = 255

    class Fooled(Logical):
        def log_probs(self, canvas, text):
            said = super().log_probs(canvas, text)
            fooled = (canvas[:, 90:, :10].mean((1, 2)) > 0.5) & (canvas[:, 50, 50] == 0)
            whole = canvas[:, int(FINDING[1]) : int(FINDING[3]), int(FINDING[0]) : int(FINDING[2])].mean((1, 2)) == 0
            said[fooled & whole, 0] = SURE
            return said

    found = explain(Fooled(RULES["finding"]), [replace(item, normal=normal)], sources=("bright",))[0]
    assert found.tests.total == pytest.approx(0, abs=1e-6)
    assert found.verdict in ("anatomy", "elsewhere")
    assert found.evidence[0].share < 0.06


def test_labels_of_regions_are_answered_with_the_region_and_the_evidence_first(item):
    lvlm = Logical(RULES["finding"])
    of_finding = medfocus(lvlm, [replace(item, labels="finding")])[0].boxes
    assert LEFT not in of_finding
    assert medfocus(lvlm, [replace(item, labels="region")])[0].boxes == [*of_finding, LEFT]
    elsewhere = medfocus(Logical(RULES["letter"]), [replace(item, labels="region")])[0]
    assert box_metrics(elsewhere.boxes, [LETTER])["iou"] > 0.7


def test_forwards_are_counted(item):
    lvlm = Logical(RULES["both"])
    other = replace(item, film=np.where(item.film > 100, item.film - 1, item.film))  # of equal ones, passes are shared
    found = medfocus(lvlm, [item, other])
    assert sum(one.forwards for one in found) == lvlm.forwards


def test_forwards_of_what_proposes_parts_are_counted(item, monkeypatch):
    class Costly:
        needs, passes = frozenset({"model"}), {"forward": 3}

        def attribute(self, lvlm, items):
            return [Attribution(item.case_id, np.zeros((2, 2)), (0.0, 0.0, 100.0, 100.0), forwards=3) for item in items]

    monkeypatch.setattr(module, "method", lambda name: Costly())
    counted = []
    for sources in ((), ("costly",), ("costly", "costly")):
        (found,) = medfocus(Logical(RULES["both"]), [item], sources=sources)
        counted.append(found.forwards)
    assert np.diff(counted).tolist() == [3, 3]

    def most(sources=(), plain_grid=False):
        return module._passes({"sources": sources, "plain_grid": plain_grid})["forward"]

    cells = candidates.cells(_film(item.film, item.normal))
    assert most(plain_grid=True) - most() == 2 * len(cells) == 50  # both questions of each
    assert most(("costly", "costly")) - most() == 2 * (2 * len(candidates.LEVELS) + 3)


def test_where_nothing_carries_the_answer_effects_are_shown(item):
    found = medfocus(Logical(RULES["global"]), [item])[0]
    assert (found.boxes, found.note["verdict"]) == ([], "not local")
    assert [effect for *_, effect in found.concepts] == pytest.approx([0] * (len(CONCEPTS) + 1), abs=1e-6)


def test_parts_that_are_not_necessary_are_not_asked_the_second_question(item):
    found = explain(Logical(RULES["finding"]), [item], sources=())[0]
    asked = {some.part.name for some in found.tests.tested if some.alone is not None}
    assert asked == {"left lung", "both lungs"}


def test_a_film_that_is_not_square_is_film_to_its_edges(item):
    wide = [np.hstack([film, film[:, :60]]) for film in (item.film, item.normal)]
    found = explain(
        Logical(RULES["global"]), [replace(item, film=wide[0], normal=wide[1])], sources=(), plain_grid=True
    )
    cells = [some.part.mask for some in found[0].tests.tested if some.part.source == "cell"]
    assert np.logical_or.reduce(cells).shape == (100, 160) and np.logical_or.reduce(cells).all()


def test_a_missing_normal_film_is_named(item):
    with pytest.raises(MedgroundError, match="m/direct/s/0 has no normal film"):
        medfocus(Logical(RULES["finding"]), [replace(item, normal=None)])


def test_log_odds_in_closed_form():
    assert log_odds(np.log([0.5, 0.9, 0.1])) == pytest.approx([0, math.log(9), -math.log(9)])
    assert np.isfinite(log_odds(np.array([0.0]))).all()


def test_evidence_is_the_ratio_of_the_odds_alone_and_without_for_the_size(item):
    tests = explain(Logical(RULES["finding"]), [item], sources=())[0].tests
    asked = [some for some in tests.tested if some.alone is not None]
    assert asked
    for some in asked:
        alone, without = np.exp(tests.original - some.alone), np.exp(tests.original - some.without)
        ratio = np.prod(alone / (1 - alone) / (without / (1 - without)))
        assert some.odds == pytest.approx(np.log(ratio), rel=1e-6)
        assert some.evidence == pytest.approx(np.log(ratio) / some.share**exchange.SIZE, rel=1e-6)


def test_components_leave_out_crumbs():
    mask = np.zeros((20, 20), bool)
    mask[:10, :10], mask[15, 15] = True, True
    assert [int(part.sum()) for part in components(mask, 0.1)] == [100]
    assert native_boxes(mask, Letterbox.stretch(40, 40, 20, 20), 0.1) == [(0, 0, 20, 20)]


def test_boxes_follow_a_line_and_leave_a_filled_shape_whole():
    frame = Letterbox.stretch(80, 80, 40, 40)
    diagonal = np.abs(np.subtract.outer(np.arange(40), np.arange(40))) < 2
    boxes = native_boxes(diagonal, frame, 0.1)
    assert len(boxes) == 4 and max(max(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes) <= 24
    assert fill(boxes, 80, 80).mean() < 0.3 and fill(boxes, 80, 80)[np.kron(diagonal, np.ones((2, 2), bool))].all()
    diagonal[30:, 26:] = True  # now best filled at its end
    assert native_boxes(diagonal, frame, 0.1)[0][3] == 80
    rows, columns = np.mgrid[:40, :40] - 19.5
    assert native_boxes(np.hypot(rows, columns) < 15, frame, 0.1) == [(10, 10, 70, 70)]


@pytest.mark.parametrize("turned", [False, True])
def test_boxes_of_a_line_share_it_out(turned):
    """Of a line that touches no border, steep or flat, each pixel is in one box, and no box has more than its own."""
    line = np.zeros((60, 60), bool)
    for row in range(9, 50):
        line[row, 20 + row // 3 : 22 + row // 3] = True
    line = line.T if turned else line
    boxes = native_boxes(line, Letterbox.stretch(60, 60, 60, 60), 0.1)
    masks = [fill([box], 60, 60) for box in boxes]
    assert len(boxes) == 4 and (sum(mask.astype(int) for mask in masks)[line] == 1).all()
    assert boxes == [box_of(mask & line) for mask in masks]


def test_the_thing_itself_is_named_and_not_as_much_of_it_as_suffices(item, monkeypatch):
    """A wire whose middle a map points at, and the model reads nothing else of it."""
    film, wire, middle = item.film.copy(), (slice(10, 90), slice(94, 98)), (slice(40, 60), slice(94, 98))
    film[wire] = 200
    heat = np.zeros((50, 50))
    heat[20:30, 47:49] = 1

    class Pointing:
        needs, passes = frozenset({"model"}), {"forward": 1}

        def attribute(self, lvlm, items):
            return [Attribution(item.case_id, heat, (0.0, 0.0, 100.0, 100.0)) for item in items]

    class Middle(Logical):
        def log_probs(self, canvas, text):
            there = (canvas[:, middle[0], middle[1]].mean((1, 2)) / (200 / 255)).clamp(0, 1)
            return torch.stack([GONE + (SURE - GONE) * there, torch.full_like(there, SURE)], 1)

    monkeypatch.setattr(module, "method", lambda name: Pointing())
    found = explain(Middle(None), [replace(item, film=film)], sources=("pointing",))[0]
    assert found.tests.carriers()[0].part.source == "level"  # the smaller, the better
    assert [some.part.source for some in found.evidence] == ["mark"]
    assert found.evidence[0].part.mask[wire].all()


def test_pairs_are_candidates_where_both_sides_were_found():
    names = [name for name, _ in regions(CONCEPTS)]
    assert names == ["left lung", "right lung", "cardiac silhouette", "both lungs"]
    everything = [(side, LEFT) for pair in PAIRS.values() for side in pair]
    assert len(regions(everything)) == 12
    assert [name for name, _ in regions(CONCEPTS[:1])] == ["left lung"]
