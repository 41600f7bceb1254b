"""The features of a model."""

import torch
from torch.distributions import Normal, kl_divergence

from lord.backdoors.models import divergence, features


def test_divergence_is_that_of_two_normal_distributions():
    mu, gamma = torch.randn(3, 4, 4).double(), torch.rand(3, 4, 4).double() + 0.1
    expected = kl_divergence(Normal(mu, gamma), Normal(torch.zeros(()), torch.ones(())))
    assert torch.allclose(divergence(mu, gamma), expected)
    assert features(torch.zeros(3, 4, 4)) == (0, 0)
    assert all(map(torch.isfinite, torch.tensor(features(mu, 0.0))))
