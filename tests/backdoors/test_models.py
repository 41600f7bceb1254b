"""The features of a model, and how they are compared with those of clean ones."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from lord.backdoors.models import Calibration, divergence, features


def test_divergence_is_that_of_two_normal_distributions():
    mu, gamma = torch.randn(3, 4, 4).double(), torch.rand(3, 4, 4).double() + 0.1
    expected = kl_divergence(Normal(mu, gamma), Normal(torch.zeros(()), torch.ones(())))
    assert torch.allclose(divergence(mu, gamma), expected)
    assert features(torch.zeros(3, 4, 4)) == (0, 0)
    assert all(map(torch.isfinite, torch.tensor(features(mu, 0.0))))


def test_models_are_told_by_clean_ones_alone():
    clean = Calibration([(0.10 + 0.01 * k, 0.05 + 0.01 * (k % 3)) for k in range(8)])
    assert clean.score((0.13, 0.06)) < 2
    assert clean.score((0.5, 0.06)) > 5  # either feature is enough
    assert clean.score((0.13, 0.6)) > 5
    assert clean.p_value((0.5, 0.6)) == pytest.approx(1 / 9)
    assert clean.p_value((0.05, 0.01)) == 1
