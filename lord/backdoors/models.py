"""Whether a model has a backdoor: how far its reversed trigger is from plain noise.

As in TERD (Mo et al., arXiv 2409.05294): a backdoor has to move the noise, and the divergence of
N(μ̂, γ̂²) from N(0, I), pixel by pixel, shows it. Its mean and its variance over the pixels are
compared with those of clean models, see `lord.backdoors.calibration`.
"""

from torch import Tensor

from lord.backdoors.inputs import LEAST_GAMMA


def divergence(mu: Tensor, gamma: Tensor | float = 1.0) -> Tensor:
    """KL(N(μ, γ²) ‖ N(0, 1)) of every pixel, −ln γ + (γ² + μ² − 1)/2, of the shape of μ."""
    mu = mu.double()
    gamma = (mu * 0 + gamma).clamp(min=LEAST_GAMMA)
    return -gamma.log() + (gamma.square() + mu.square() - 1) / 2


def features(mu: Tensor, gamma: Tensor | float = 1.0) -> tuple[float, float]:
    """Mean and variance over the pixels of the divergence of a reversed trigger."""
    values = divergence(mu, gamma)
    return values.mean().item(), values.var(correction=0).item()
