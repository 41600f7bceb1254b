"""A spatial attack: pixels stay as bright as they are, and move.

Xiao et al., "Spatially transformed adversarial examples", arXiv:1801.02612: a flow of a few tenths
of a pixel, kept smooth. No defence here was trained on it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lord.attacks.evasion.gradient import expected, looks_of
from lord.attacks.evasion.losses import margin
from lord.attacks.evasion.settings import Evasion, Threat
from lord.attacks.evasion.victim import Victim

SMOOTHNESS = 0.05
"""τ: weight of the flow's roughness. It is the published one, but of a sum over pixels, where
`roughness` is a mean, so that flows are freer here."""


def warp(images: Tensor, flow: Tensor) -> Tensor:
    """Images (N, C, H, W) whose pixel at a place p shows what was at p + flow(p), bilinear.

    Args:
        flow: shape (N, 2, H, W), x and y in pixels; beyond the border lies the border.
    """
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=images.dtype, device=images.device),
        torch.arange(width, dtype=images.dtype, device=images.device),
        indexing="ij",
    )
    places = torch.stack([(x + flow[:, 0]) / (width - 1), (y + flow[:, 1]) / (height - 1)], dim=-1)
    return F.grid_sample(
        images, places * 2 - 1, mode="bilinear", padding_mode="border", align_corners=True
    )


def roughness(flow: Tensor) -> Tensor:
    """The mean length of the difference of neighbouring flows, shape (N,)."""
    right, below = flow.diff(dim=-1)[..., :-1, :], flow.diff(dim=-2)[..., :, :-1]
    return sum((d.square().sum(dim=1) + 1e-12).sqrt().mean(dim=(1, 2)) for d in (right, below))


def spatial(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    settings: Evasion,
    seeds: Sequence[int],
) -> Tensor:
    """The images moved by the flow, of at most ε pixels in x and in y, with the highest margin.

    Sign steps, which shrink to none, up the margin less τ times the roughness.
    """

    def see(flow: Tensor, seeds: Sequence[int]) -> Tensor:
        return victim.logits(warp(images, flow), seeds)

    flow = torch.zeros_like(images[:, :2])
    best, highest = images.clone(), torch.full((len(images),), -torch.inf).to(images)
    for step in range(settings.steps + 1):
        looks = looks_of(victim, seeds, settings.draws, "spatial", step)
        found = expected(see, margin, flow, labels, looks)
        candidates = flow.clone().requires_grad_()
        smoother = torch.autograd.grad(-SMOOTHNESS * roughness(candidates).sum(), candidates)[0]
        better = found.loss > highest
        moved = warp(images, flow).clamp(0, 1)
        best = torch.where(better.view(-1, 1, 1, 1), moved, best)
        highest = torch.where(better, found.loss, highest)
        size = settings.step_size * threat.eps * (1 - step / settings.steps)
        way = (found.gradient + smoother).sign()
        flow = (flow + size * way).clamp(-threat.eps, threat.eps)
    return best
