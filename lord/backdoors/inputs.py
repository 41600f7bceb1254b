"""Whether a noise carries a trigger: the likelihood ratio in noise space (arXiv 2409.05294).

Benign noise is N(0, I), triggered noise N(μ, γ²). With the trigger known or reversed, no test of a
noise is better than the ratio of the two likelihoods (Neyman and Pearson).
"""

import torch
from scipy.stats import chi2, ks_1samp, norm
from torch import Tensor
from torch.distributions import Normal

LEAST_GAMMA = 1e-3
"""A γ of 0 would make every density infinite or zero."""


def log_ratio(noises: Tensor, mu: Tensor, gamma: Tensor | float = 1.0) -> Tensor:
    """log N(x; μ, γ²) − log N(x; 0, I) of noises (N, C, H, W), shape (N,): positive if triggered.

    Args:
        mu: mean of triggered noise, shape (C, H, W).
        gamma: its standard deviation, one or for each pixel.
    """
    shape = mu.shape
    mu, noises = mu.double().flatten(), noises.double().flatten(1)
    gamma = (mu * 0 + torch.as_tensor(gamma).expand(shape).flatten()).clamp(min=LEAST_GAMMA)
    variance = gamma.square()
    constant = -(gamma.log() + mu.square() / (2 * variance)).sum()
    return noises.square() @ (1 - 1 / variance) / 2 + noises @ (mu / variance) + constant


def expected_rates(mu: Tensor, found: Tensor) -> tuple[float, float]:
    """Shares of benign and of triggered noises that are told right, where γ = 1.

    A noise counts as triggered if x·μ̂ > ‖μ̂‖²/2. Benign noise is told right with probability
    Φ(‖μ̂‖/2), triggered with Φ((μ·μ̂ − ‖μ̂‖²/2)/‖μ̂‖).

    Args:
        mu: μ, the trigger that is there.
        found: μ̂, the one that the defender goes by, not zero everywhere.
    """
    mu, found = mu.double(), found.double()
    length, normal = found.norm(), Normal(0.0, 1.0)
    triggered = ((mu * found).sum() - length**2 / 2) / length
    return normal.cdf(length / 2).item(), normal.cdf(triggered).item()


def energy(noises: Tensor) -> Tensor:
    """‖x‖² of noises (N, C, H, W), shape (N,): a test that needs no trigger, and no model."""
    return noises.double().square().flatten(1).sum(dim=1)


def energy_is_odd(noises: Tensor, level: float = 0.01) -> Tensor:
    """Whether ‖x‖² lies outside what a share of 1 − ``level`` of benign noises has, shape (N,).

    Of benign noise it follows the χ² distribution with as many degrees of freedom as values.
    """
    low, high = chi2.ppf([level / 2, 1 - level / 2], noises[0].numel())
    values = energy(noises)
    return (values < low) | (values > high)


def values_are_odd(noises: Tensor, level: float = 0.01) -> Tensor:
    """Whether the values of a noise (N, C, H, W) are not those of N(0, 1), shape (N,).

    DisDet (arXiv 2402.02739) compares the histogram of a noise with that of plain noise, and needs
    no model either. Here it is the test of Kolmogorov and Smirnov, with ``level`` false alarms.
    """
    values = noises.double().flatten(1).cpu().numpy()
    return torch.from_numpy(ks_1samp(values, norm.cdf, axis=1, method="asymp").pvalue < level)
