"""Whether a model has a backdoor: how far its reversed trigger is from plain noise.

As in TERD (Mo et al., arXiv 2409.05294): a backdoor has to move the noise, and the divergence of
N(μ̂, γ̂²) from N(0, I), pixel by pixel, shows it. Its mean and its variance over the pixels are
compared with those of clean models.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
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


@dataclass(frozen=True)
class Calibration:
    """The features of clean models, which a model's own are compared with.

    Attributes:
        clean: one row of mean and variance for each clean model.
    """

    clean: Sequence[tuple[float, float]]

    def score(self, found: tuple[float, float]) -> float:
        """How far features lie above those of clean models: the larger of the two, in deviations.

        Both are compared on a logarithmic scale, on which they spread about alike everywhere.
        """
        clean = np.log(np.asarray(self.clean))
        spread = clean.std(axis=0, ddof=1).clip(min=1e-6)
        return float(((np.log(np.asarray(found)) - clean.mean(axis=0)) / spread).max())

    def p_value(self, found: tuple[float, float]) -> float:
        """The share of clean models, this one counted in, that score as high: 1/(n+1) at least.

        Each clean model is scored by the others.
        """
        own = self.score(found)
        others = [
            Calibration([*self.clean[:k], *self.clean[k + 1 :]]).score(self.clean[k])
            for k in range(len(self.clean))
        ]
        return (1 + sum(other >= own for other in others)) / (1 + len(others))
