"""Confidence intervals for a handful of numbers.

The study averages over few cells (subjects times seeds), where the ordinary percentile bootstrap
is too narrow. Hesterberg's *expanded percentile* interval repairs most of that: it resamples as
usual, but reads the quantiles further out, where the t distribution and the factor n / (n - 1)
say they should be [Hesterberg, What Teachers Should Know About the Bootstrap, The American
Statistician 69(4), 2015, section 4.2]. The interval is for independent cells.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from lord.seeding import derive_seed


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, in the units of the data."""

    mean: float
    low: float
    high: float


def _tail(count: int, level: float) -> float:
    """Probability to cut off on each side: Φ(-√(n / (n - 1)) · t), Hesterberg 2015, section 4.2."""
    t = stats.t.ppf((1 + level) / 2, count - 1)
    return float(stats.norm.cdf(-math.sqrt(count / (count - 1)) * t))


def mean_interval(
    values: Sequence[float], level: float = 0.95, resamples: int = 20_000, seed: int = 0
) -> Interval:
    """The mean of independent values with an expanded percentile bootstrap interval.

    Args:
        values: one number per independent cell, at least two.
        level: nominal coverage.
        resamples: bootstrap samples; the tails at n = 6 need many.
        seed: the same seed and values give the same interval.

    Raises:
        ValueError: fewer than two values, a value that is not finite, or a level outside (0, 1).
    """
    data = np.asarray(values, dtype=np.float64).ravel()
    low, high = _ends(_resampled_means(data, level, resamples, seed)[0], len(data), level)
    return Interval(float(data.mean()), low, high)


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    level: float = 0.95,
    resamples: int = 20_000,
    seed: int = 0,
) -> Interval:
    """The ratio of two means over the same independent cells, which are resampled together.

    Where the mean of the denominators is not surely above 0, by the same interval, a ratio can be
    anything: the ends are then NaN.

    Raises:
        ValueError: the two differ in length, or the mean of the denominators is not above 0;
            otherwise as `mean_interval`.
    """
    if len(numerators) != len(denominators):
        raise ValueError(
            f"pairs need equal lengths, got {len(numerators)} and {len(denominators)} values"
        )
    data = np.asarray([numerators, denominators], dtype=np.float64)
    above, below = _resampled_means(data, level, resamples, seed)
    if data[1].mean() <= 0:
        raise ValueError(f"the mean of the denominators must be above 0, not {data[1].mean()}")
    low, high = float("nan"), float("nan")
    if _ends(below, data.shape[1], level)[0] > 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = _ends(above / below, data.shape[1], level)
    return Interval(float(data[0].mean() / data[1].mean()), low, high)


def _resampled_means(data: np.ndarray, level: float, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap means (rows, resamples) of rows of values, all resampled in the same way."""
    data = np.atleast_2d(data)
    count = data.shape[1]
    if count < 2:
        raise ValueError(f"an interval needs at least two values, got {count}")
    if not np.isfinite(data).all():
        raise ValueError(f"values must be finite, got {data.tolist()}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    generator = np.random.default_rng(derive_seed("interval", seed))
    draws = generator.integers(count, size=(resamples, count))
    return data[:, draws].mean(axis=2)


def _ends(resampled: np.ndarray, count: int, level: float) -> tuple[float, float]:
    tail = _tail(count, level)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)
