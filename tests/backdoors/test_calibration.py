"""How features of a model are compared with those of clean ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lord.backdoors.calibration import Calibration


def test_either_feature_is_enough():
    clean = Calibration([(0.10 + 0.01 * k, 0.05 + 0.01 * (k % 3)) for k in range(8)])
    assert clean.score((0.13, 0.06)) < 2
    assert clean.score((0.5, 0.06)) > 5
    assert clean.score((0.13, 0.6)) > 5
    assert clean.p_value((0.5, 0.6)) < 0.001
    assert clean.p_value((0.05, 0.01)) == 1
    assert len(clean.without(3).clean) == 7


def test_clean_models_are_suspected_as_often_as_the_level_says():
    draws = np.exp(np.random.default_rng(0).normal(size=(4000, 9)))
    p_values = [Calibration([[v] for v in row[:8]]).p_value(row[8:]) for row in draws]
    for level in (0.01, 0.1):
        assert np.mean(np.array(p_values) < level) == pytest.approx(level, abs=4 * level**0.5 / 63)


@given(st.lists(st.floats(0.1, 10), min_size=4, max_size=9), st.floats(0.1, 10), st.floats(1.01, 5))
def test_further_from_clean_is_more_suspicious(clean, found, factor):
    calibration = Calibration([[value] for value in clean])
    assert calibration.p_value([found * factor]) <= calibration.p_value([found])
