"""The floors that know where a finding usually is, on regions whose medians are plain."""

from dataclasses import replace

import numpy as np
import pytest

from medground.attribution import method
from medground.attribution.method import Item
from medground.attribution.prior import Prior, lungs_of
from medground.errors import MedgroundError


def sample(index, regions, split="dev", source="s", finding="effusion", width=100, height=200):
    return {"source": source, "index": index, "split": split, "finding": finding, "width": width, "height": height,
            "regions": regions}  # fmt: skip


def case(index, source="s", finding="effusion"):
    return {"source": source, "index": index, "finding": finding}


DEV = [sample(n, [(10.0 + n, 20.0, 30.0, 40.0 + 10 * n)]) for n in (0, 1, 8)]


def test_the_median_of_the_dev_regions_in_shares_of_the_film():
    prior = Prior([*DEV, sample(9, [(0.0, 0.0, 100.0, 200.0)], split="test")])
    assert prior.box(case(9), 100, 200) == pytest.approx((11, 20, 30, 50))
    assert prior.box(case(9), 200, 100) == pytest.approx((22, 10, 60, 25))


def test_several_regions_are_one_box():
    prior = Prior([sample(0, [(10.0, 20.0, 30.0, 40.0), (60.0, 10.0, 80.0, 30.0)])])
    assert prior.box(case(0), 100, 200) == pytest.approx((10, 10, 80, 40))


def test_what_a_source_does_not_know_others_do():
    prior = Prior([*DEV, sample(0, [(0.0, 0.0, 10.0, 10.0)], source="t", finding="nodule")])
    assert prior.box(case(3, source="t"), 100, 200) == pytest.approx((11, 20, 30, 50))
    assert prior.box(case(3, finding="new"), 100, 200) == pytest.approx((10.5, 20, 30, 45))
    assert Prior([]).box(case(3), 100, 200) == (25, 50, 75, 150)


def test_in_the_frame_of_the_lungs():
    trachea, right = ("trachea", (0.0, 0.0, 1.0, 1.0)), (10.0, 0.0, 40.0, 90.0)
    located = {
        ("s", n): [("left lung", (50.0, 0.0, 80.0 + n, 100.0)), ("right lung", (n + 10.0, *right[1:])), trachea]
        for n in (0, 10)
    }
    lungs = lungs_of(located | {("s", 5): [("left lung", (1.0, 1.0, 2.0, 2.0))]})
    assert lungs == {("s", 0): (10, 0, 80, 100), ("s", 10): (20, 0, 90, 100)}
    prior = Prior([sample(0, [(10.0, 50.0, 45.0, 100.0)])], lungs)  # the lower half of the right side
    assert prior.box(case(10), 100, 200) == pytest.approx((20, 50, 55, 100))
    assert prior.box(case(5), 100, 200) == pytest.approx((0, 100, 50, 200))  # no lungs: in the frame of the film


def test_the_floors_say_it_and_look_at_nothing():
    lung = (("left lung", (1.0, 1.0, 2.0, 2.0)),)
    item = Item("m/direct/s/0", np.zeros((200, 100), np.uint8), "?", "Yes.", concepts=lung, prior=(1.0, 2.0, 3.0, 4.0))
    for name in ("finding_prior", "finding_prior_lungs"):
        one = method(name)
        assert one.group == "floor" and "model" not in one.needs
        assert one.attribute(None, [item])[0].boxes == [(1, 2, 3, 4)]
        with pytest.raises(MedgroundError, match="m/direct/s/1 has no prior"):
            one.attribute(None, [replace(item, case_id="m/direct/s/1", prior=None)])
