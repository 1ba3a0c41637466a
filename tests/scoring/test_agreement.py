"""Size-free localisation and what a map favours, on closed forms."""

import numpy as np
import pytest

from medground.scoring.agreement import at_area, depth, favours

SIDE = 40
OWN, OTHER = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
OWN[5:15, 5:25] = True  # 200 pixels
OTHER[30:34, 30:34] = True  # 16 pixels


def test_the_hottest_pixels_are_as_many_as_the_region_has():
    heat = np.zeros((SIDE, SIDE))
    heat[5:10, 5:25] = 2  # half of the region, hottest
    heat[20:25, 5:25] = 1  # as much outside
    assert at_area(heat, OWN) == pytest.approx(100 / 300)
    assert at_area(OWN.astype(float), OWN) == 1
    assert at_area((~OWN).astype(float), OWN) == 0
    assert at_area(heat, np.zeros_like(OWN)) == 0


def test_ties_at_the_last_value_count_by_their_share():
    """A flat map chooses at random: of 200 of 1600 pixels an eighth lies inside on average."""
    assert at_area(np.zeros((SIDE, SIDE)), OWN) == pytest.approx(25 / 375)
    heat = np.zeros((SIDE, SIDE))
    heat[5:15, 5:15] = 1  # 100 of the region surely, 100 more of the other 1500, of which 100 are inside
    common = 100 + 100 * 100 / 1500
    assert at_area(heat, OWN) == pytest.approx(common / (400 - common))


@pytest.mark.parametrize("change", [lambda heat: 3 * heat + 7, lambda heat: heat**3, lambda heat: -1 / (heat + 1)])
def test_only_the_order_of_the_values_counts(change):
    heat = np.random.default_rng(0).random((SIDE, SIDE))
    assert at_area(change(heat), OWN) == at_area(heat, OWN)


@pytest.mark.parametrize("factor", [0.1, 0.5, 1, 2])
def test_a_box_of_any_size_about_the_regions_centre_is_right(factor):
    half_w, half_h = 10 * factor, 5 * factor
    assert at_area(depth([(15 - half_w, 10 - half_h, 15 + half_w, 10 + half_h)], SIDE, SIDE), OWN) == 1


def test_depth_is_the_factor_by_which_the_nearest_box_grows():
    found = depth([(0, 0, 4, 2), (20, 20, 24, 22)], SIDE, SIDE)
    assert found[0, 0] == pytest.approx(-max(1.5 / 2, 0.5 / 1)) and found[20, 23] == found[0, 3]
    assert found[10, 1] == pytest.approx(-9.5)


def test_a_map_favours_where_it_is_denser_whatever_the_areas():
    heat = 1.0 * OWN + 2.0 * OTHER
    assert favours(heat, OTHER, OWN) and not favours(heat, OWN, OTHER)  # though more of it lies on the larger one
    assert favours(5 * heat - 9, OTHER, OWN)
    part = np.zeros((SIDE, SIDE))
    part[5, 5] = 1  # one pixel of one, none of the other
    assert favours(part, OWN, OTHER)


@pytest.mark.parametrize("heat", [np.zeros((SIDE, SIDE)), 1.0 * (OWN | OTHER), np.full((SIDE, SIDE), 1e9)])
def test_a_tie_is_a_no_both_ways(heat):
    assert not favours(heat, OWN, OTHER) and not favours(heat, OTHER, OWN)


def test_rounding_is_no_evidence():
    heat = np.ones((SIDE, SIDE)) + 1.0 * ~(OWN | OTHER)
    heat[OWN] += 1e-12
    assert not favours(heat, OWN, OTHER)


def test_what_two_causes_share_counts_for_neither():
    wide = OTHER.copy()
    wide[5:15, 5:20] = True  # takes most of the other
    heat = np.zeros((SIDE, SIDE))
    heat[5:15, 5:20] = 9
    heat[30, 30] = 1
    assert favours(heat, wide, OWN) and not favours(heat, OWN, wide)
    assert not favours(heat, OWN, OWN | OTHER) and not favours(heat, OWN | OTHER, OWN | OTHER)
    assert not favours(heat, np.zeros_like(OWN), OTHER) and not favours(heat, OTHER, np.zeros_like(OWN))
