"""Bootstrap intervals: determinism, errors, and the coverage they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lord.metrics.interval import (
    design_effect,
    intraclass_correlation,
    mean_interval,
    ratio_interval,
    share_interval,
)


def test_same_seed_same_interval():
    values = [0.2, 0.5, 0.4, 0.7, 0.3, 0.6]
    first = mean_interval(values, seed=3)
    assert first == mean_interval(values, seed=3)
    assert first.low < first.mean < first.high
    assert first.mean == pytest.approx(0.45)


def test_a_ratio_ignores_what_its_cells_share():
    sizes = np.array([1.0, 10.0, 100.0, 3.0, 30.0, 300.0])
    share = ratio_interval(0.7 * sizes, sizes)
    assert share == pytest.approx((0.7, 0.7, 0.7))
    wider = ratio_interval(0.7 * sizes + np.array([1, -1, 1, -1, 1, -1]), sizes)
    assert wider.low < wider.mean < wider.high
    assert wider == ratio_interval(0.7 * sizes + np.array([1, -1, 1, -1, 1, -1]), sizes)


@pytest.mark.parametrize("count", [6, 9])
def test_nominal_95_percent_of_a_ratio_covers(count):
    generator = np.random.default_rng(7)
    covered = 0
    for trial in range(1000):
        sizes = generator.normal(10, 3, count)
        parts = 0.8 * sizes + generator.normal(0, 2, count)
        interval = ratio_interval(parts, sizes, resamples=500, seed=trial)
        covered += interval.low <= 0.8 <= interval.high
    assert 0.92 <= covered / 1000 <= 0.98


def test_a_ratio_to_what_may_be_nothing_has_no_interval():
    interval = ratio_interval([1.0, 2.0, 1.0], [3.0, -2.0, 1.0])
    assert interval.mean == pytest.approx(2) and np.isnan(interval[1:]).all()
    with pytest.raises(ValueError, match="above 0"):
        ratio_interval([1.0, 2.0], [1.0, -1.0])
    with pytest.raises(ValueError, match="equal lengths"):
        ratio_interval([1.0, 2.0], [1.0])


@pytest.mark.parametrize("count", [6, 48])
@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_nominal_95_percent_covers(count, draw):
    generator = np.random.default_rng(7)
    trials = 1000
    covered = 0
    for trial in range(trials):
        values = getattr(generator, draw)(size=count)
        interval = mean_interval(values, resamples=500, seed=trial)
        truth = 0.5 if draw == "uniform" else 0.0
        covered += interval.low <= truth <= interval.high
    assert 0.92 <= covered / trials <= 0.98


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, float("nan")])


def clustered(correlation, generator, clusters=3, size=3):
    """Standard normal values, ``size`` in each cluster and as alike as ``correlation`` says."""
    shared = generator.normal(0, correlation**0.5, (clusters, 1))
    values = shared + generator.normal(0, (1 - correlation) ** 0.5, (clusters, size))
    return values.ravel(), np.repeat(range(clusters), size)


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.8])
def test_nominal_95_percent_covers_if_cells_are_alike(correlation):
    generator = np.random.default_rng(7)
    covered = np.zeros(2)
    for trial in range(1000):
        values, clusters = clustered(correlation, generator)
        effects = (1, design_effect(clusters, correlation))
        ends = [mean_interval(values, effect, resamples=500, seed=trial) for effect in effects]
        covered += [interval.low <= 0 <= interval.high for interval in ends]
    independent, alike = covered / 1000
    assert independent < 0.9  # what it would be if seeds were taken for subjects
    assert 0.92 <= alike <= 0.98


@pytest.mark.parametrize("correlation", [0, 0.5, 1])
def test_how_alike_cells_are_is_found_from_many_groups(correlation):
    generator = np.random.default_rng(7)
    groups = [clustered(correlation, generator, clusters=8) for _ in range(200)]
    assert intraclass_correlation(groups) == pytest.approx(correlation, abs=0.05)


def test_groups_that_tell_nothing_are_left_out():
    values, clusters = [1.0, 1.0, 5.0, 5.0], [0, 0, 1, 1]
    nothing = [([1.0, 2.0], [0, 0]), ([1.0, 2.0], [0, 1]), ([1.0] * 4, clusters), ([], [])]
    assert intraclass_correlation(nothing) == 0
    assert intraclass_correlation([*nothing, (values, clusters)]) == pytest.approx(1)
    assert design_effect(clusters, 0.5) == pytest.approx(1.5)
    assert design_effect([0, 1, 2], 0.5) == 1


def test_a_design_effect_widens_a_ratio_as_it_does_a_mean():
    parts, sizes = np.array([3.0, 2.0, 4.0, 3.5, 2.5, 3.0]), np.ones(6)
    ratio, mean = ratio_interval(parts, sizes, 1.5), mean_interval(parts, 1.5)
    assert ratio == pytest.approx(mean)
    assert mean.low < mean_interval(parts).low < mean_interval(parts).high < mean.high
    with pytest.raises(ValueError, match="effect must lie"):
        mean_interval([1.0, 2.0], 2)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_share_is_the_exact_one(pair):
    hits, count = pair
    mean, low, high = share_interval(hits, count)
    exact = binomtest(hits, count).proportion_ci()
    assert mean == hits / count and (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)
