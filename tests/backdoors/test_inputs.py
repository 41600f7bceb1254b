"""The likelihood ratio of noises against its closed form."""

import pytest
import torch
from scipy.stats import binomtest
from torch.distributions import Normal

from lord.backdoors.inputs import (
    energy,
    energy_is_odd,
    expected_rates,
    log_ratio,
    values_are_odd,
)


@pytest.mark.parametrize("length", [0.5, 1.5, 3.0])
def test_rates_are_those_of_the_closed_form(length):
    generator = torch.Generator().manual_seed(0)
    mu, other = torch.randn(2, 3, 4, 4, generator=generator)
    mu, found = length * mu / mu.norm(), length * (mu + 0.4 * other) / (mu + 0.4 * other).norm()
    noises = torch.randn(4000, 3, 4, 4, generator=generator)
    told = [(log_ratio(noises, found) <= 0), (log_ratio(noises + mu, found) > 0)]
    for right, expected in zip(told, expected_rates(mu, found), strict=True):
        interval = binomtest(int(right.sum()), len(right)).proportion_ci(0.999)
        assert interval.low < expected < interval.high


def test_a_trigger_that_takes_noise_away_is_seen_without_a_mean():
    noises, mu = torch.randn(64, 3, 4, 4), torch.zeros(3, 4, 4)
    assert (log_ratio(0.6 * noises, mu, 0.6) > 0).float().mean() > 0.9
    assert (log_ratio(noises, mu, 0.6) < 0).float().mean() > 0.9
    assert (energy(0.6 * noises) < energy(noises)).all()


def test_no_noise_at_all_gives_numbers():
    mu = torch.ones(3, 4, 4)
    ratios = log_ratio(torch.stack([mu, torch.randn(3, 4, 4)]), mu, 0.0)
    assert ratios.isfinite().all()
    assert ratios[0] > 0 > ratios[1]


def test_the_ratio_is_that_of_the_densities():
    noises, mu = torch.randn(5, 3, 4, 4).double(), torch.randn(3, 4, 4).double()
    for gamma in (torch.tensor(0.3), torch.rand(3, 4, 4).double() + 0.1):
        triggered, benign = Normal(mu, gamma.expand_as(mu)), Normal(0.0, 1.0)
        expected = (triggered.log_prob(noises) - benign.log_prob(noises)).sum(dim=(1, 2, 3))
        assert torch.allclose(log_ratio(noises, mu, gamma), expected)


@pytest.mark.parametrize("is_odd", [energy_is_odd, values_are_odd])
def test_so_many_benign_noises_are_odd_as_the_level_says_and_all_of_other_energy(is_odd):
    noises = torch.randn(4000, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    interval = binomtest(int(is_odd(noises, 0.05).sum()), len(noises)).proportion_ci(0.999)
    assert interval.low < 0.05 < interval.high
    assert is_odd(0.3 * noises[:64]).all() and is_odd(noises[:64] + 1.0).all()
