"""A rival on inputs: whether copies of a noise, perturbed, all lead to one picture (UFID).

Guan et al., arXiv 2404.01101: a trigger outlasts a perturbation of the noise that it lies in, so
that samples of such copies are alike, where those of plain noise go apart.
"""

import torch
from diffusers import DDPMPipeline
from torch import Tensor

from lord.backdoors.elijah import spread
from lord.models.pixel import sample


def likeness(
    pipeline: DDPMPipeline, noises: Tensor, share: float, copies: int, steps: int
) -> Tensor:
    """Minus the mean distance of the samples of perturbed copies of each noise, shape (N,).

    Args:
        noises: shape (N, C, H, W).
        share: s of the copies √(1−s²) x + s ϵ, which are plain noise if x is.
        copies: of each noise, at least two.
        steps: of DDIM.
    """
    generator = torch.Generator().manual_seed(0)
    fresh = torch.randn((len(noises), copies, *noises.shape[1:]), generator=generator)
    perturbed = (1 - share**2) ** 0.5 * noises[:, None] + share * fresh
    drawn = sample(pipeline, perturbed.flatten(0, 1), steps)
    return torch.tensor([-spread(images) for images in drawn.split(copies)])
