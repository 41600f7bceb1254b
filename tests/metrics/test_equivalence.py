"""Two one-sided tests against those of scipy, and what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from lord.metrics.equivalence import equivalence_p_value

NUMBERS = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=3, max_size=12)


@given(NUMBERS.filter(lambda values: np.std(values) > 1e-3), st.floats(0.1, 10))
def test_it_is_the_worse_of_two_one_sided_tests(values, margin):
    above = ttest_1samp(values, -margin, alternative="greater").pvalue
    below = ttest_1samp(values, margin, alternative="less").pvalue
    assert equivalence_p_value(values, margin) == pytest.approx(max(above, below), abs=1e-9)


def test_at_the_margin_it_errs_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = generator.normal(1.0, 1.0, (4000, 6))
    claimed = np.mean([equivalence_p_value(row, 1.0) < 0.05 for row in draws])
    assert claimed <= 0.06


def test_no_difference_is_not_yet_equivalence():
    few = [-3.0, 4.0, -2.0, 2.5]
    assert ttest_1samp(few, 0).pvalue > 0.5 and equivalence_p_value(few, 1.0) > 0.2
    assert equivalence_p_value([0.1, -0.1, 0.05, 0.0], 1.0) < 0.001


def test_alike_cells_count_less():
    values = [0.2, 0.3, -0.1, 0.1, 0.4, 0.0]
    assert equivalence_p_value(values, 0.5) < equivalence_p_value(values, 0.5, effect=2.0)
    assert equivalence_p_value([0.1] * 4, 0.5) == 0 and equivalence_p_value([0.7] * 4, 0.5) == 1


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0], {"margin": 1.0}, "at least two"),
        ([1.0, float("nan")], {"margin": 1.0}, "finite"),
        ([1.0, 2.0], {"margin": 0.0}, "margin"),
        ([1.0, 2.0], {"margin": 1.0, "effect": 2.0}, "effect"),
    ],
)
def test_what_cannot_be_tested_is_named(values, options, message):
    with pytest.raises(ValueError, match=message):
        equivalence_p_value(values, **options)
