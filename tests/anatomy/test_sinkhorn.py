import numpy as np
import ot
import pytest

from medground.anatomy.sinkhorn import Cost, Problem, divergence, sinkhorn, squares
from medground.errors import MedgroundError

rng = np.random.default_rng(0)


def masses(*shape):
    """Random masses of sum 1 with empty cells."""
    mass = rng.random(shape) * (rng.random(shape) < 0.7)
    return mass / mass.reshape(shape[0], -1).sum(1).reshape(-1, *[1] * (len(shape) - 1))


def plane(cells, unit=1.0):
    return Cost(squares(cells) / unit, squares(cells) / unit)


def dense(plan, pair):
    """A plan's matrix over all cells, from its definition."""
    everywhere = np.ones(plan.left[pair].shape, bool)
    kernel = np.exp(-plan.kernel.cost.between(pair, everywhere, everywhere) / plan.kernel.epsilon)
    return plan.left[pair].ravel()[:, None] * kernel * plan.right[pair].ravel()


def pot(problem, pair):
    """The same problem solved by POT to the end, between the cells that have mass."""
    here, there = problem.a[pair] > 0, problem.b[pair] > 0
    a, b = problem.a[pair][here], problem.b[pair][there]
    cost = problem.cost.between(pair, here, there)
    prior = np.ones_like(cost) if problem.prior == "counting" else a[:, None] * b
    plan = ot.unbalanced.sinkhorn_unbalanced(
        a, b, cost, problem.epsilon, problem.relaxation, c=prior, numItermax=5000, stopThr=1e-15
    )
    everywhere = np.zeros((here.size, there.size))
    everywhere[np.ix_(here.ravel(), there.ravel())] = plan
    return everywhere


LIFTED = Cost(squares(6) / 9, squares(6) / 9, squares(3, 0.5))


@pytest.mark.parametrize("prior", ["counting", "product"])
@pytest.mark.parametrize(("shape", "cost"), [((2, 7, 7), plane(7, 9)), ((2, 3, 6, 6), LIFTED)])
def test_plan_equals_pot(prior, shape, cost):
    problem = Problem(masses(*shape), masses(*shape), cost, 0.05, 0.1, prior, 5000, 1e-13)
    plan = sinkhorn(problem)
    for pair in range(2):
        expected = pot(problem, pair)
        np.testing.assert_allclose(dense(plan, pair), expected, rtol=1e-9, atol=1e-15)
        everywhere = np.ones(shape[1:], bool)
        total = (expected * cost.between(pair, everywhere, everywhere)).sum()
        assert plan.cost[pair] == pytest.approx(total, rel=1e-9)
        assert plan.mass[pair] == pytest.approx(expected.sum(), rel=1e-9)


def test_push_and_pull_are_products_with_the_plan():
    problem = Problem(masses(1, 5, 5), masses(1, 5, 5), plane(5, 4), 0.1, 0.3)
    plan, field = sinkhorn(problem), rng.random((1, 5, 5))
    np.testing.assert_allclose(plan.push(field).ravel(), field.ravel() @ dense(plan, 0), rtol=1e-12)
    np.testing.assert_allclose(plan.pull(field).ravel(), dense(plan, 0) @ field.ravel(), rtol=1e-12)


@pytest.mark.parametrize("prior", ["counting", "product"])
def test_solvers_agree(prior):
    problem = Problem(masses(2, 3, 6, 6), masses(2, 3, 6, 6), LIFTED, 0.05, 0.1, prior, 5000, 1e-12)
    ours, theirs = sinkhorn(problem), sinkhorn(problem, "pot")
    for pair in range(2):
        np.testing.assert_allclose(dense(theirs, pair), dense(ours, pair), rtol=1e-8, atol=1e-14)


def test_pairs_do_not_depend_on_their_batch():
    a, b = masses(4, 9, 9), masses(4, 9, 9)
    b[1] = a[1]  # stops at another sweep
    units = np.array([5.0, 20.0, 80.0, 2.0])
    axis = squares(9) / units[:, None, None]
    together = sinkhorn(Problem(a, b, Cost(axis, axis), 0.05, 0.1))
    for pair in range(4):
        alone = sinkhorn(Problem(a[[pair]], b[[pair]], plane(9, units[pair]), 0.05, 0.1))
        np.testing.assert_allclose(together.left[pair], alone.left[0], rtol=1e-12)
        np.testing.assert_allclose(together.right[pair], alone.right[0], rtol=1e-12)


@pytest.mark.parametrize("prior", ["counting", "product"])
def test_one_cell_to_one_cell_in_closed_form(prior):
    """Stationarity of the objective: distance + (2 relaxation + epsilon) log P = 0."""
    a, b = np.zeros((2, 1, 5, 5))
    a[0, 1, 1] = b[0, 3, 4] = 1
    epsilon, relaxation, distance = 0.2, 0.7, 2**2 + 3**2
    problem = Problem(a, b, plane(5), epsilon, relaxation, prior, 2000, 1e-14)
    stiffness = 2 * relaxation + epsilon
    mass = np.exp(-distance / stiffness)
    plan = sinkhorn(problem)
    assert plan.push(np.ones((1, 5, 5)))[0, 3, 4] == pytest.approx(mass, rel=1e-9)
    assert plan.cost[0] == pytest.approx(distance * mass, rel=1e-9)
    if prior == "product":
        assert divergence(problem)[0] == pytest.approx(stiffness * (1 - mass), rel=1e-9)


def test_a_shifted_mass_moves_by_the_shift():
    a = np.zeros((1, 16, 16))
    a[0, 3:7, 4:9] = rng.random((4, 5)) + 0.5
    a /= a.sum()
    plan = sinkhorn(Problem(a, np.roll(a, (5, 3), (1, 2)), plane(16), 0.25, 1e3, "product", 5000, 1e-12))
    sent, rows = plan.pull(np.ones((16, 16)))[0], plan.pull(np.arange(16.0)[:, None])[0]
    there = (rows[a[0] > 0] / sent[a[0] > 0]).reshape(4, 5)
    np.testing.assert_allclose(there - np.arange(3, 7)[:, None], 5, atol=0.1)  # entropy blurs by half a cell


def test_divergence_is_zero_only_for_equal_masses():
    a, b = masses(1, 8, 8), masses(1, 8, 8)
    settings = (plane(8, 10), 0.1, 0.5, "product", 2000, 1e-12)
    assert divergence(Problem(a, a, *settings))[0] == pytest.approx(0, abs=1e-12)
    assert divergence(Problem(a, b, *settings))[0] > 1e-3
    assert divergence(Problem(a, b, *settings)) == pytest.approx(divergence(Problem(b, a, *settings)), rel=1e-6)


@pytest.mark.parametrize("epsilon", [1e-2, 2e-3, 1e-5])
@pytest.mark.parametrize("prior", ["counting", "product"])
def test_small_epsilon_stays_finite(epsilon, prior):
    a, b = np.zeros((2, 1, 56, 56))
    a[0, :10, :10] = b[0, 40:, 40:] = 1  # far apart: every kernel value underflows
    plan = sinkhorn(Problem(a / a.sum(), b / b.sum(), plane(56, 2000), epsilon, 0.1, prior))
    assert np.isfinite(plan.left).all() and np.isfinite(plan.right).all()
    assert np.isfinite(plan.push(np.ones((1, 56, 56)))).all() and np.isfinite(plan.cost).all()


@pytest.mark.parametrize("spoil", [lambda m: m * 0, lambda m: -m, lambda m: m * np.nan, lambda m: m / 0.0])
def test_bad_masses_are_refused(spoil):
    good = np.ones((1, 4, 4))
    with np.errstate(all="ignore"), pytest.raises(MedgroundError, match="the target of a transport"):
        sinkhorn(Problem(good, spoil(good), plane(4), 0.1, 0.1))


def test_unknown_solver():
    good = np.ones((1, 4, 4))
    with pytest.raises(MedgroundError, match="'fast'; known: separable, pot, pot-cuda"):
        sinkhorn(Problem(good, good, plane(4), 0.1, 0.1), "fast")
