"""Intervals and differences over patients: closed forms, and simulations in which the truth is known."""

import numpy as np
import pytest
from scipy import stats

from medground.ranking import bootstrap, paired_difference
from medground.ranking.bootstrap import exact_interval, interval, paired_p, resample_patients, separates, share_interval


def clustered(rng, patients, entries=1, shared=0.15, own=0.1):
    """Scores in 0..1 of 1 to 4 cases a patient, alike within the patient: ``[entries, cases]`` and the patients."""
    members = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    level = rng.normal(0.5, shared, patients)[members]
    return np.clip(level + rng.normal(0, own, (entries, members.size)), 0, 1), members


def test_each_resample_is_a_mean_over_whole_patients():
    values, patients = np.array([[0.0, 1.0, 1.0, 0.25], [1, 1, 1, 1]]), ["b", "a", "a", "c"]
    means, count = resample_patients(values, patients, 500, np.random.default_rng(0))
    assert count == 3 and means.shape == (500, 2)
    assert np.allclose(means[:, 1], 1)
    possible = {
        (2 * a + 0.25 * c) / (2 * a + b + c) for a in range(4) for b in range(4 - a) for c in [3 - a - b]
    }  # fmt: skip
    assert {round(mean, 9) for mean in means[:, 0]} == {round(mean, 9) for mean in possible}


@pytest.mark.parametrize("block", [1, 7, 100, 10**6])
def test_a_resample_is_the_mean_over_the_cases_of_the_patients_that_were_drawn(block, monkeypatch):
    """Whatever is held at once: spelled out case by case, with the draws of the generator."""
    monkeypatch.setattr(bootstrap, "_BLOCK", block)
    values, patients = clustered(np.random.default_rng(2), 9, entries=3)
    means, _ = resample_patients(values, patients, 40, np.random.default_rng(7))
    drawn = np.random.default_rng(7).integers(9, size=(40, 9), dtype=np.int32)
    cases = [np.concatenate([np.flatnonzero(patients == patient) for patient in row]) for row in drawn]
    assert np.allclose(means, [values[:, some].mean(1) for some in cases], rtol=1e-12)


def test_a_patient_is_drawn_as_often_as_a_multinomial_says():
    """Counts of equal draws with replacement are multinomial: mean 1, variance 1 - 1/n, covariance -1/n."""
    draws = np.concatenate(list(bootstrap._draws(5, 100_000, np.random.default_rng(0))))
    assert (draws.sum(1) == 5).all()
    assert np.allclose(np.cov(draws, rowvar=False), np.eye(5) - 0.2, atol=0.02)


def test_models_and_patients_are_drawn_independently_and_weigh_by_their_product(monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK", 20)
    rng = np.random.default_rng(4)
    values, patients = clustered(rng, 6, entries=2)
    models = rng.integers(3, size=len(patients))
    means = bootstrap.resample_models(values, patients, models, 30, np.random.default_rng(7))
    again = np.random.default_rng(7)
    of_models = [np.bincount(row, minlength=3) for row in again.integers(3, size=(30, 3), dtype=np.int32)]
    of_people = [np.bincount(row, minlength=6) for row in again.integers(6, size=(30, 6), dtype=np.int32)]
    weights = [people[patients] * kinds[models] for people, kinds in zip(of_people, of_models, strict=True)]
    expected = [values @ weight / weight.sum() for weight in weights if weight.sum()]
    assert np.allclose(means, expected, rtol=1e-12)


@pytest.mark.parametrize("entries", [1, 2])
def test_patients_of_few_kinds_are_drawn_as_kinds_with_the_same_distribution(entries, monkeypatch):
    """Shares of ones among patients with one or two cases: at most five kinds for an entry, whatever the patients."""
    rng = np.random.default_rng(8)
    patients = np.repeat(np.arange(400), 1 + np.arange(400) % 2)
    values = (rng.random((entries, patients.size)) < 0.3).astype(float)
    few, _ = resample_patients(values, patients, 20_000, np.random.default_rng(1))
    monkeypatch.setattr(bootstrap, "_FEW", 1e9)
    one_by_one, _ = resample_patients(values, patients, 20_000, np.random.default_rng(2))
    error = one_by_one.std(0)
    assert np.allclose(few.mean(0), one_by_one.mean(0), atol=0.05 * error.min())
    assert np.allclose(np.cov(few, rowvar=False), np.cov(one_by_one, rowvar=False), atol=0.05 * error.min() ** 2)
    for number in range(entries):
        both = (means[:, number].round(12) for means in (few, one_by_one))  # equal shares, summed otherwise
        assert stats.ks_2samp(*both).pvalue > 1e-3


def test_the_same_seed_gives_the_same_resamples():
    values, patients = clustered(np.random.default_rng(1), 30)
    first, second = (resample_patients(values, patients, 50, np.random.default_rng(7))[0] for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("patients", [15, 60])
def test_95_percent_intervals_cover_95_percent(patients):
    rng = np.random.default_rng(patients)
    truth, repeats, covered = 0.5, 600, 0
    for _ in range(repeats):
        values, members = clustered(rng, patients)
        low, high = interval(*resample_patients(values, members, 400, rng), 0.95)
        covered += low[0] <= truth <= high[0]
    assert covered / repeats == pytest.approx(0.95, abs=0.025)


def test_intervals_that_ignore_patients_do_not_cover():
    rng = np.random.default_rng(3)
    repeats, covered = 300, 0
    for _ in range(repeats):
        values, members = clustered(rng, 40, shared=0.2, own=0.02)
        low, high = interval(*resample_patients(values, np.arange(members.size), 300, rng), 0.95)
        covered += low[0] <= 0.5 <= high[0]
    assert covered / repeats < 0.85  # the simulation is able to tell


def test_p_values_of_equal_entries_are_uniform():
    rng = np.random.default_rng(5)
    p = []
    for _ in range(400):
        values, members = clustered(rng, 40, entries=2)
        means, count = resample_patients(values, members, 300, rng)
        p.append(paired_p(values.mean(1), means, count)[0, 1])
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.03)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_one_case_a_patient_is_the_paired_t_test():
    rng = np.random.default_rng(6)
    values = rng.random((2, 80)) * [[1.0], [0.8]]
    means, count = resample_patients(values, np.arange(80), 20000, rng)
    expected = stats.ttest_rel(*values).pvalue
    assert paired_p(values.mean(1), means, count)[0, 1] == pytest.approx(expected, rel=0.15)


def test_paired_beats_unpaired_where_entries_share_their_difficulty():
    rng = np.random.default_rng(8)
    values, members = clustered(rng, 50, entries=1, shared=0.2)
    better = np.clip(values[0] + 0.03, 0, 1)
    result = paired_difference(better, values[0], members)
    assert result["low"] > 0 and result["p"] < 1e-6
    alone = interval(*resample_patients(np.array([better, values[0]]), members, 1000, rng), 0.95)
    assert alone[0][0] < alone[1][1]  # the two intervals overlap all the same


def test_identical_entries_and_constant_differences():
    values = np.array([[0.2, 0.4, 0.9], [0.2, 0.4, 0.9], [0.1, 0.3, 0.8]])
    means, count = resample_patients(values, [1, 2, 3], 100, np.random.default_rng(0))
    p = paired_p(values.mean(1), means, count)
    assert p[0, 1] == 1 and p[0, 2] == 0 and np.array_equal(p, p.T)


def test_a_single_patient_says_nothing():
    means, count = resample_patients(np.array([[0.2, 0.4], [0.9, 0.9]]), ["x", "x"], 10, np.random.default_rng(0))
    low, high = interval(means, count, 0.95)
    assert (low.tolist(), high.tolist()) == ([0, 0], [1, 1])
    assert (paired_p(np.array([0.3, 0.9]), means, count) == 1).all()
    assert paired_difference([0.2, 0.4], [0.9, 0.9], ["x", "x"]) == pytest.approx(
        {"difference": -0.6, "low": -1, "high": 1, "p": 1}
    )


@pytest.mark.parametrize("patients", [2, 3, 5, 40])
def test_percentiles_are_widened_as_students_t_is_wider_than_the_normal(patients):
    """Hesterberg 2015, eq. 8: the normal probability of sqrt(n / (n - 1)) t_(n - 1)."""
    means = np.random.default_rng(0).random((5000, 2)) ** [1, 2]
    tail = stats.norm.cdf(np.sqrt(patients / (patients - 1)) * stats.t.ppf(0.05, patients - 1))
    low, high = interval(means, patients, 0.9)
    assert np.allclose([low, high], np.quantile(means, [tail, 1 - tail], axis=0), rtol=1e-12)


@pytest.mark.parametrize("patients", [1, 2, 7, 30])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_shares_of_none_and_all_have_the_ends_of_clopper_and_pearson(patients, level):
    low, high = exact_interval(np.array([0.0, 1.0, 0.25]), patients, level)
    for place, hits in enumerate((0, patients)):
        exact = stats.binomtest(hits, patients).proportion_ci(level, method="exact")
        assert (low[place], high[place]) == pytest.approx((exact.low, exact.high), rel=1e-9)
    assert (low[2], high[2]) == (0.25, 0.25)


def test_the_interval_of_a_share_is_never_the_point_that_no_resample_moves():
    one_each = list(range(9))
    exact = stats.binomtest(9, 9).proportion_ci(0.95, method="exact")
    assert share_interval([1] * 9, one_each) == pytest.approx((exact.low, 1))
    assert share_interval([0] * 9, one_each) == pytest.approx((0, 1 - exact.low))
    low, high = share_interval([1, 0, 1, 1, 0, 1, 1, 1, 0], one_each)
    assert 0.2 < low < 6 / 9 < high
    assert share_interval([1, 1], ["x", "x"]) == (0, 1)


@pytest.mark.parametrize("patients", [2, 4, 25])
def test_the_p_of_a_pair_is_that_of_students_t_with_a_degree_of_freedom_less_than_patients(patients):
    means = np.random.default_rng(patients).normal([0.5, 0.4, 0.1], [0.1, 0.2, 0.1], (400, 3))
    observed = np.array([0.5, 0.4, 0.1])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        quotient = abs(observed[a] - observed[b]) / np.std(means[:, a] - means[:, b], ddof=1)
        expected = 2 * stats.t.sf(quotient, patients - 1)
        assert paired_p(observed, means, patients)[a, b] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("entries", [2, 3, 5])
def test_what_a_benchmark_can_tell_is_a_quantile_of_students_t_times_the_error(entries):
    means, patients = np.random.default_rng(entries).normal(0.5, np.arange(1, entries + 1) / 50, (300, entries)), 12
    errors = [np.std(means[:, a] - means[:, b], ddof=1) for a in range(entries) for b in range(a)]
    error, t = np.median(errors), stats.t(patients - 1)
    assert separates(means, patients, 0.95) == pytest.approx(
        {
            "standard_error": error,
            "one_pair": t.ppf(0.975) * error,
            "all_pairs": t.ppf(1 - 0.025 / len(errors)) * error,
            "with_power": (t.ppf(0.975) + t.ppf(0.8)) * error,
        },
        rel=1e-9,
    )
    assert separates(means, 2, 0.95) is not None
    assert separates(means, 1, 0.95) is None and separates(means[:, :1], patients, 0.95) is None


def test_two_patients_say_something():
    found = paired_difference([0.4, 0.6], [0.2, 0.3], ["x", "y"])
    assert found["difference"] == pytest.approx(0.25) and found["low"] == pytest.approx(0.2)
    assert found["high"] == pytest.approx(0.3) and found["p"] < 1
