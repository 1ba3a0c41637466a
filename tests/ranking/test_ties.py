"""Holm, rank intervals and letters against independent truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medground.ranking.ties import _runs, differ, letters, rank_intervals


def symmetric(values, size):
    p = np.ones((size, size))
    p[np.triu_indices(size, 1)] = values
    return np.minimum(p, p.T)


def test_holm_by_hand():
    # six pairs: the limits are 0.05 / 6, / 5, / 4, / 3, / 2, / 1
    assert differ(symmetric([0.005, 0.011, 0.012, 0.016, 0.024, 0.04], 4), 0.95).sum() // 2 == 1  # stops at 0.011
    assert differ(symmetric([0.04, 0.009, 0.012, 0.016, 0.024, 0.001], 4), 0.95).sum() // 2 == 6
    assert differ(np.ones((1, 1)), 0.95).tolist() == [[False]]


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10**6))
def test_holm_equals_its_adjusted_p_values(size, seed):
    values = np.random.default_rng(seed).random(size * (size - 1) // 2) ** 4
    order = np.argsort(values)
    adjusted, highest = np.empty_like(values), 0.0
    for place, number in enumerate(order):
        highest = max(highest, (values.size - place) * values[number])
        adjusted[number] = highest
    found = differ(symmetric(values, size), 0.95)
    assert np.array_equal(found[np.triu_indices(size, 1)], adjusted <= 0.05) and np.array_equal(found, found.T)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9), st.integers(0, 10**6), st.floats(0, 1))
def test_sharing_a_letter_is_not_being_told_apart(size, seed, share):
    rng = np.random.default_rng(seed)
    different = np.triu(rng.random((size, size)) < share, 1)
    different |= different.T
    observed = rng.random(size)
    groups = [set(names.split()) for names in letters(observed, different)]
    for i in range(size):
        assert groups[i]
        for j in range(size):
            assert bool(groups[i] & groups[j]) == (not different[i, j])
    assert "a" in groups[int(np.argmax(observed))]


def test_letters_of_a_textbook_chain():
    observed = np.array([0.9, 0.8, 0.7, 0.1])
    different = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]], bool)
    assert letters(observed, different) == ["a", "a b", "b", "c"]


def test_many_letters_are_spelled_like_columns_of_a_sheet():
    size = 60
    names = letters(-np.arange(size), ~np.eye(size, dtype=bool))
    assert names[:2] == ["a", "b"] and names[25:28] == ["z", "aa", "ab"] and len(set(names)) == size


def test_rank_intervals_count_sure_winners_and_losers():
    observed = np.array([0.9, 0.8, 0.7, 0.1])
    different = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 0]], bool)
    low, high = rank_intervals(observed, different)
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == [(1, 2), (1, 3), (2, 3), (4, 4)]


def test_who_has_the_same_mean_is_neither_surely_better_nor_surely_worse():
    low, high = rank_intervals(np.array([0.5, 0.5]), ~np.eye(2, dtype=bool))
    assert low.tolist() == [1, 1] and high.tolist() == [2, 2]


@pytest.mark.parametrize("size", [200])
def test_hundreds_of_entries_get_letters_quickly(size):
    observed = np.linspace(1, 0, size)
    different = np.abs(observed[:, None] - observed) > 0.05
    names = letters(observed, different)
    assert names[0] == "a" and len(set(names[-1].split()) & set(names[0].split())) == 0


def test_hundreds_of_entries_in_a_tangle_still_share_a_letter_where_they_are_tied():
    rng = np.random.default_rng(0)
    size = 300
    observed = rng.random(size)
    different = np.abs(observed[:, None] - observed) * rng.uniform(0.2, 1, (size, size)) > 0.1
    different &= different.T
    names = [set(name.split()) for name in letters(observed, different)]
    assert (
        "a" in names[int(np.argmax(observed))] and not names[int(np.argmax(observed))] & names[int(np.argmin(observed))]
    )
    assert all(names[i] & names[j] for i, j in np.argwhere(~different))
    assert len(set.union(*names)) <= size


@pytest.mark.parametrize("reach", [0.0, 0.03, 0.2, 2.0])
def test_runs_are_exact_where_all_between_two_that_are_tied_are_tied_with_both(reach):
    observed = np.random.default_rng(1).random(40)
    different = np.abs(observed[:, None] - observed) > reach
    groups = _runs(np.argsort(-observed), different)
    shared = (groups[:, :, None] & groups[:, None, :]).any(0)
    assert np.array_equal(shared, ~different)
    assert len(np.unique(groups, axis=0)) == len(groups) and groups.any(1).all()
