"""The Fast Adaptive Boundary attack, targeted: the smallest perturbation, not one of a budget.

Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack",
arXiv:1907.02044. Each step takes the decision boundary for the plane that it is at first order, and
goes to the nearest point of it within [0, 1], drawn back towards the original.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lord.attacks.evasion.gradient import expected, looks_of, mean_logits, seeds_of
from lord.attacks.evasion.losses import likeliest_wrong
from lord.attacks.evasion.settings import Evasion, Threat
from lord.attacks.evasion.victim import Victim

ALPHA, BETA, ETA = 0.1, 0.9, 1.05
"""The most that a step is drawn to the original, what is left of the way once the boundary is
crossed, and how far beyond the plane a step goes; as in AutoAttack."""

BISECTIONS = 60
"""Of a ratio of lengths, which leaves nothing to be seen in single precision."""


def fab(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    settings: Evasion,
    seeds: Sequence[int],
) -> Tensor:
    """The nearest images found that fool the victim, or the originals where none is within ε.

    One wrong class after the other is the target, the likeliest first, as long as an image holds.
    """
    best, length = images.clone(), torch.full((len(images),), torch.inf).to(images)
    clean = mean_logits(victim, images, seeds, settings.draws, "clean")
    for goal in range(min(settings.targets, clean.shape[1] - 1)):
        rows = (length > threat.eps).nonzero().flatten()
        if not len(rows):
            break
        targets = likeliest_wrong(clean[rows], labels[rows], goal)
        found, norms = _nearest(
            victim, images[rows], labels[rows], targets, threat, settings, seeds_of(seeds, rows)
        )
        nearer = norms < length[rows]
        best[rows] = torch.where(nearer.view(-1, 1, 1, 1), found, best[rows])
        length[rows] = torch.minimum(norms, length[rows])
    return torch.where((length <= threat.eps).view(-1, 1, 1, 1), best, images)


def _nearest(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    targets: Tensor,
    threat: Threat,
    settings: Evasion,
    seeds: Sequence[int],
) -> tuple[Tensor, Tensor]:
    """The nearest fooling image on the way to a target, and its distance, ∞ if there was none."""

    def ahead(logits: Tensor, labels: Tensor) -> Tensor:
        rows = torch.arange(len(logits), device=logits.device)
        return logits[rows, targets] - logits[rows, labels]

    def shape(values: Tensor) -> Tensor:
        return values.view(-1, 1, 1, 1)

    x, best = images.clone(), images.clone()
    length = torch.full((len(images),), torch.inf).to(images)
    for step in range(settings.steps):
        now = expected(
            victim.logits, ahead, x, labels, looks_of(victim, seeds, settings.draws, "fab", step)
        )
        # At first order the logits are equal where w·y + offset = 0.
        w = now.gradient
        offset = now.loss - (w * x).flatten(1).sum(dim=1)
        here, there = (to_plane(points, w, offset, threat) for points in (x, images))
        near, far = _norm(here, threat), _norm(there, threat)
        share = shape((near / (near + far).clamp(min=1e-12)).clamp(max=ALPHA))
        x = (1 - share) * (x + ETA * here) + share * (images + ETA * there)
        x = x.clamp(0, 1)
        logits = mean_logits(victim, x, seeds, settings.draws, "crossed", step)
        crossed, norms = logits.argmax(1) != labels, _norm(x - images, threat)
        nearer = crossed & (norms < length)
        best = torch.where(shape(nearer), x, best)
        length = torch.where(nearer, norms, length)
        x = torch.where(shape(crossed), (1 - BETA) * images + BETA * x, x)
    return best, length


def _norm(change: Tensor, threat: Threat) -> Tensor:
    order = torch.inf if threat.norm == "linf" else 2
    return change.flatten(1).norm(p=order, dim=1)


def to_plane(points: Tensor, w: Tensor, offset: Tensor, threat: Threat) -> Tensor:
    """The shortest step from points to w·y + offset = 0 within [0, 1], all of shape (N, C, H, W).

    A step of l∞ length r reaches furthest by moving each number by r along ±w until it hits the
    box, one of l2 by moving it in proportion to w; how far the whole must go is found by bisection.
    Where the box is too small, the step goes as far as it can.

    Args:
        offset: shape (N,).
    """
    value = (w * points).flatten(1).sum(dim=1) + offset
    way = -torch.sign(value).view(-1, 1, 1, 1) * w
    direction = way.sign() if threat.norm == "linf" else way
    low, high = -points, 1 - points

    def step(length: Tensor) -> Tensor:
        return torch.maximum(torch.minimum(length.view(-1, 1, 1, 1) * direction, high), low)

    # From the length that would do without the box, to where every number has hit it.
    reach = (way * direction).flatten(1).sum(dim=1).clamp(min=1e-30)
    smallest = direction.abs().where(direction != 0, torch.inf).flatten(1).amin(dim=1)
    least, most = value.abs() / reach, (1 / smallest).clamp(max=1e30)
    most = torch.maximum(least, most)
    for _ in range(BISECTIONS):
        middle = least.sqrt() * most.sqrt()
        enough = (way * step(middle)).flatten(1).sum(dim=1) >= value.abs()
        least, most = torch.where(enough, least, middle), torch.where(enough, middle, most)
    return step(most)
