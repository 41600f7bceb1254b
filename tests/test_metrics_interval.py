"""Bootstrap intervals: determinism, errors, and the coverage they promise."""

import numpy as np
import pytest

from lord.metrics.interval import mean_interval, paired_difference


def test_same_seed_same_interval():
    values = [0.2, 0.5, 0.4, 0.7, 0.3, 0.6]
    first = mean_interval(values, seed=3)
    assert first == mean_interval(values, seed=3)
    assert first.low < first.mean < first.high
    assert first.mean == pytest.approx(0.45)


def test_paired_difference_ignores_what_the_cells_share():
    generator = np.random.default_rng(0)
    cells = generator.normal(0, 10, 6)
    difference = paired_difference(cells + 1 + generator.normal(0, 0.1, 6), cells)
    assert 0.7 < difference.low < difference.mean < difference.high < 1.3


@pytest.mark.parametrize("count", [6, 48])
@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_nominal_95_percent_covers(count, draw):
    generator = np.random.default_rng(7)
    trials = 1000
    covered = 0
    for trial in range(trials):
        values = getattr(generator, draw)(size=count)
        interval = mean_interval(values, resamples=2000, seed=trial)
        truth = 0.5 if draw == "uniform" else 0.0
        covered += interval.low <= truth <= interval.high
    assert 0.92 <= covered / trials <= 0.98


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="finite"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="level"):
        mean_interval([1.0, 2.0], level=95)
    with pytest.raises(ValueError, match="equal lengths"):
        paired_difference([1.0, 2.0], [1.0])
