"""A spatial attack: pixels stay as bright as they are, and move.

Xiao et al., "Spatially transformed adversarial examples", arXiv:1801.02612: a flow of a few tenths
of a pixel, kept smooth. No defence here was trained on it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lord.attacks.evasion.gradient import looks_of
from lord.attacks.evasion.losses import margin
from lord.attacks.evasion.settings import Evasion, Threat
from lord.attacks.evasion.victim import Victim

SMOOTHNESS = 0.05
"""τ: weight of the flow's roughness, as published."""


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
    flow = torch.zeros_like(images[:, :2])
    best, highest = images.clone(), torch.full((len(images),), -torch.inf).to(images)
    for step in range(settings.steps + 1):
        looks = looks_of(victim, seeds, settings.draws, "spatial", step)
        gradient, lead = torch.zeros_like(flow), torch.zeros_like(highest)
        for look in looks:
            candidates = flow.detach().clone().requires_grad_()
            values = margin(victim.logits(warp(images, candidates), look), labels)
            raised = values - SMOOTHNESS * roughness(candidates)
            gradient += torch.autograd.grad(raised.sum(), candidates)[0]
            lead += values.detach() / len(looks)
        better = lead > highest
        moved = warp(images, flow).clamp(0, 1)
        best = torch.where(better.view(-1, 1, 1, 1), moved, best)
        highest = torch.where(better, lead, highest)
        size = settings.step_size * threat.eps * (1 - step / settings.steps)
        flow = (flow + size * gradient.sign()).clamp(-threat.eps, threat.eps)
    return best
