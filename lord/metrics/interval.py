"""Confidence intervals for a handful of numbers.

The study averages over few cells (subjects times seeds), where the ordinary percentile bootstrap
is too narrow. Hesterberg's *expanded percentile* interval repairs most of that: it resamples as
usual, but reads the quantiles further out, where the t distribution and the factor n / (n - 1)
say they should be [Hesterberg, What Teachers Should Know About the Bootstrap, The American
Statistician 69(4), 2015, section 4.2].

That is for independent cells. Seeds of one subject share its photographs, and n cells with m seeds
of each subject say no more than n / (1 + (m - 1) ρ) independent ones, where ρ is their intraclass
correlation [Kish, Survey Sampling, 1965, section 5.4]. The denominator is the *design effect*; the
interval is as wide as so many independent cells would make it.

Tables of a book ask for the same intervals over and over, and each takes milliseconds: what was
found, and what was drawn for it, is kept.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, ndtr, stdtrit

from lord.seeding import derive_seed

LEVEL = 0.95
"""The nominal coverage of every interval."""


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, in the units of the data."""

    mean: float
    low: float
    high: float


def intraclass_correlation(groups: Iterable[tuple[Sequence[float], Sequence[int]]]) -> float:
    """How alike values of one cluster are: the share of the variance that lies between clusters.

    Estimated from mean squares in every group (one-way analysis of variance) and pooled by the
    median over groups, since so few clusters as one group has do not tell it; within [0, 1].

    Args:
        groups: the values of each group, and for every value the cluster that it belongs to. A
            group that has one cluster, one value in each, or no variance tells nothing.

    Returns:
        0 if no group tells anything.
    """
    estimates = []
    for values, clusters in groups:
        data, (names, places) = np.asarray(values, float), np.unique(clusters, return_inverse=True)
        sizes = np.bincount(places)
        if len(names) < 2 or len(data) == len(names) or np.ptp(data) == 0:
            continue
        means = np.bincount(places, data) / sizes
        between = (sizes * (means - data.mean()) ** 2).sum() / (len(names) - 1)
        within = ((data - means[places]) ** 2).sum() / (len(data) - len(names))
        size = (len(data) - (sizes**2).sum() / len(data)) / (len(names) - 1)
        estimates.append((between - within) / (between + (size - 1) * within))
    return float(np.clip(np.median(estimates), 0, 1)) if estimates else 0.0


def design_effect(clusters: Sequence[int], correlation: float) -> float:
    """How many values count as one, for the cluster of each value and their correlation within."""
    return 1 + (len(clusters) / len(np.unique(clusters)) - 1) * correlation


def mean_interval(
    values: Sequence[float], effect: float = 1.0, resamples: int = 20_000, seed: int = 0
) -> Interval:
    """The mean of values with an expanded percentile bootstrap interval.

    Args:
        values: one number per cell, at least two.
        effect: their `design_effect`; 1 for independent cells.
        resamples: bootstrap samples; the tails at n = 6 need many.
        seed: the same seed and values give the same interval.

    Raises:
        ValueError: fewer than two values, a value that is not finite, or an effect that leaves no
            two independent cells.
    """
    data = np.asarray(values, dtype=np.float64).ravel()
    return _mean_interval(data.tobytes(), effect, resamples, seed)


@lru_cache(maxsize=2**14)
def _mean_interval(values: bytes, effect: float, resamples: int, seed: int) -> Interval:
    data = np.frombuffer(values)
    resampled, mean = _resampled_means(data, resamples, seed)[0], float(data.mean())
    return Interval(mean, *_ends(resampled, mean, len(data), effect))


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    effect: float = 1.0,
    resamples: int = 20_000,
    seed: int = 0,
) -> Interval:
    """The ratio of two means over the same cells, which are resampled together.

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
    return _ratio_interval(data.tobytes(), effect, resamples, seed)


@lru_cache(maxsize=2**14)
def _ratio_interval(pairs: bytes, effect: float, resamples: int, seed: int) -> Interval:
    data = np.frombuffer(pairs).reshape(2, -1)
    above, below = _resampled_means(data, resamples, seed)
    if data[1].mean() <= 0:
        raise ValueError(f"the mean of the denominators must be above 0, not {data[1].mean()}")
    ratio, ends = float(data[0].mean() / data[1].mean()), (float("nan"), float("nan"))
    if _ends(below, data[1].mean(), data.shape[1], effect)[0] > 0:
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = _ends(above / below, ratio, data.shape[1], effect)
    return Interval(ratio, *ends)


def share_interval(hits: int, count: int) -> Interval:
    """The share of ``hits`` among ``count`` with its exact interval [Clopper and Pearson, 1934]."""
    tail = (1 - LEVEL) / 2
    low = betaincinv(hits, count - hits + 1, tail) if hits else 0.0
    high = betaincinv(hits + 1, count - hits, 1 - tail) if hits < count else 1.0
    return Interval(hits / count, float(low), float(high))


def _resampled_means(data: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Bootstrap means (rows, resamples) of rows of values, all resampled in the same way."""
    data = np.atleast_2d(data)
    count = data.shape[1]
    if count < 2:
        raise ValueError(f"an interval needs at least two values, got {count}")
    if not np.isfinite(data).all():
        raise ValueError(f"values must be finite, got {data.tolist()}")
    return data[:, _draws(count, resamples, seed)].mean(axis=2)


@lru_cache(maxsize=16)
def _draws(count: int, resamples: int, seed: int) -> np.ndarray:
    """Which of ``count`` values each sample has, shape (resamples, count)."""
    generator = np.random.default_rng(derive_seed("interval", seed))
    return generator.integers(count, size=(resamples, count))


def _ends(resampled: np.ndarray, centre: float, count: int, effect: float) -> tuple[float, float]:
    """Where a resampled statistic ends, about its value on the data, for ``count`` values."""
    if not 1 <= effect < count:
        raise ValueError(f"effect must lie between 1 and the {count} values, got {effect}")
    # To cut off on each side: Φ(-√(n / (n - 1)) · t), Hesterberg 2015, section 4.2.
    cells = count / effect
    tail = ndtr(-math.sqrt(cells / (cells - 1)) * stdtrit(cells - 1, (1 + LEVEL) / 2))
    low, high = centre + math.sqrt(effect) * (np.quantile(resampled, [tail, 1 - tail]) - centre)
    return float(low), float(high)
