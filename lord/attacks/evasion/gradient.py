"""Attacks that follow gradients: PGD, and Auto-PGD, which finds its steps by itself.

Both average the gradient over several looks of a randomised victim (expectation over
transformation, EOT; Athalye et al., arXiv:1802.00420).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from lord.attacks.ball import project, unit, uphill
from lord.attacks.evasion.losses import (
    Loss,
    cross_entropy,
    dlr,
    likeliest_wrong,
    margin,
    targeted_dlr,
)
from lord.attacks.evasion.settings import Evasion, Threat
from lord.attacks.evasion.victim import Victim
from lord.seeding import derive_seed, noise

RHO, MOMENTUM = 0.75, 0.75
"""Of Auto-PGD: a step is kept while this share of steps raises the loss; weight of the new step."""


@dataclass(frozen=True)
class Expected:
    """Means over looks: the loss (N,), the logits (N, classes), and the gradient of the loss."""

    loss: Tensor
    logits: Tensor
    gradient: Tensor


def expected(
    see: Callable[[Tensor, Sequence[int]], Tensor],
    loss: Loss,
    images: Tensor,
    labels: Tensor,
    looks: Sequence[Sequence[int]],
) -> Expected:
    """The loss of images, its gradient and the logits, averaged over looks.

    Args:
        see: from images, or from what moves them, and seeds to logits.
        looks: seeds of the images, one list for each look; they are taken one after the other, so
            that memory does not grow with their number.

    Raises:
        FloatingPointError: a gradient is not finite.
    """
    total, logits, gradient = 0.0, 0.0, torch.zeros_like(images)
    for seeds in looks:
        candidates = images.detach().clone().requires_grad_()
        seen = see(candidates, seeds)
        values = loss(seen, labels)
        gradient += torch.autograd.grad(values.sum(), candidates)[0] / len(looks)
        total = total + values.detach() / len(looks)
        logits = logits + seen.detach() / len(looks)
    if not gradient.isfinite().all():
        raise FloatingPointError("the gradient of an attack is not finite; check the classifier")
    return Expected(total, logits, gradient)


def looks_of(victim: Victim, seeds: Sequence[int], draws: int, *name: object) -> list[list[int]]:
    """Seeds of the looks for one gradient; of a victim without randomness one is enough."""
    count = draws if victim.random else 1
    return [victim.seeds(seeds, *name, look) for look in range(count)]


def pgd(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    settings: Evasion,
    seeds: Sequence[int],
    at_step: Callable[[int, Expected], None] = lambda *_: None,
) -> Tensor:
    """PGD on the cross-entropy from the images on (Madry et al., arXiv:1706.06083).

    ``bpda`` takes the purifier for the identity on the way back, ``transfer`` for the identity
    altogether.

    Args:
        at_step: told of every gradient, before the step.
    """
    see = victim.straight_through if settings.method == "bpda" else victim.logits
    if settings.method == "transfer":
        victim = Victim(victim.classifier)
        see = victim.logits
    attacked = images.clone()
    for step in range(settings.steps):
        looks = looks_of(victim, seeds, settings.draws, "pgd", step)
        found = expected(see, cross_entropy, attacked, labels, looks)
        at_step(step, found)
        step_size = settings.step_size * threat.eps
        moved = attacked + step_size * uphill(found.gradient, threat.norm)
        attacked = project(moved, images, threat.eps, threat.norm)
    return attacked


def checkpoints(steps: int) -> list[int]:
    """The steps after which Auto-PGD looks at its progress, equation 4 of arXiv:2003.01690."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    # Rounded first, as 0.57 · 100 is a little more than 57 in floating point.
    marks = [math.ceil(round(share * steps, 6)) for share in shares[1:]]
    return [mark for mark in marks if mark < steps]


def auto_pgd(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    settings: Evasion,
    seeds: Sequence[int],
) -> Tensor:
    """Auto-PGD (Croce and Hein, arXiv:2003.01690): PGD with momentum whose step is halved, and
    which goes back to its best point, where progress stalls.

    On the cross-entropy, on the DLR loss or, targeted, on the targeted DLR loss, one class after
    the other. Of each image the point is returned that fooled the victim, on average over the
    looks, by the highest margin; if none did, the one with the highest loss.
    """
    best = images.clone()
    fooled = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    targeted, goals = settings.method == "apgd_t", 1
    if targeted:
        clean = mean_logits(victim, images, seeds, settings.draws, "clean")
        goals = min(settings.targets, clean.shape[1] - 1)
    for goal, restart in product(range(goals), range(settings.restarts)):
        rows = (~fooled).nonzero().flatten()
        if not len(rows):
            break
        loss = cross_entropy if settings.method == "apgd_ce" else dlr
        if targeted:
            targets = likeliest_wrong(clean[rows], labels[rows], goal)
            loss = partial(targeted_dlr, targets=targets)
        own, name = seeds_of(seeds, rows), (goal, restart)
        best[rows], fooled[rows] = _climb(
            victim, images[rows], labels[rows], threat, settings, own, loss, name
        )
    return best


def seeds_of(seeds: Sequence[int], rows: Tensor) -> list[int]:
    """The seeds of some rows."""
    return [seeds[row] for row in rows.tolist()]


@torch.no_grad()
def mean_logits(
    victim: Victim, images: Tensor, seeds: Sequence[int], draws: int, *name: object
) -> Tensor:
    """Logits (N, classes) averaged over looks of that name."""
    looks = looks_of(victim, seeds, draws, *name)
    return torch.stack([victim.logits(images, look) for look in looks]).mean(dim=0)


def _climb(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    settings: Evasion,
    seeds: Sequence[int],
    loss: Loss,
    name: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """One run of Auto-PGD; returns a point of each image, and whether it fooled the victim."""

    def look(points: Tensor, step: int) -> Expected:
        looks = looks_of(victim, seeds, settings.draws, "apgd", *name, step)
        return expected(victim.logits, loss, points, labels, looks)

    x = _random_start(images, threat, [derive_seed(seed, "start", *name) for seed in seeds])
    now = look(x, 0)
    state = Progress(x, now.loss, now.gradient, 2 * threat.eps)
    fooling = Fooling(x, now, labels)
    before, marks, last = x, checkpoints(settings.steps), 0
    for step in range(1, settings.steps + 1):
        moved = x + state.step_size * uphill(now.gradient, threat.norm)
        z = project(moved, images, threat.eps, threat.norm)
        share = 1.0 if step == 1 else MOMENTUM
        moved = x + share * (z - x) + (1 - share) * (x - before)
        before, x = x, project(moved, images, threat.eps, threat.norm)
        then, now = now, look(x, step)
        state.risen += (now.loss > then.loss).float()
        state.improve(x, now)
        fooling.improve(x, now)
        if step in marks:
            halved = state.check(step - last)
            last = step
            # Those go on from their best point, without the momentum of where they were.
            x = torch.where(halved, state.best, x)
            before = torch.where(halved, x, before)
            gradient = torch.where(halved, state.gradient, now.gradient)
            loss_there = torch.where(halved.flatten(), state.loss, now.loss)
            now = Expected(loss_there, now.logits, gradient)
    point = torch.where(fooling.done.view(-1, 1, 1, 1), fooling.point, state.best)
    return point, fooling.done


class Progress:
    """The best point of each image by its loss, and the step that is right for it."""

    def __init__(self, x: Tensor, loss: Tensor, gradient: Tensor, step_size: float):
        self.best, self.loss, self.gradient = x.clone(), loss.clone(), gradient.clone()
        self.step_size = torch.full_like(loss, step_size).view(-1, 1, 1, 1)
        self.risen = torch.zeros_like(loss)
        self._loss_then = loss.clone()
        self._was_halved = torch.zeros_like(loss, dtype=torch.bool)

    def improve(self, x: Tensor, now: Expected) -> None:
        """Take note of points with a higher loss than any before."""
        better = now.loss > self.loss
        rows = better.view(-1, 1, 1, 1)
        self.best, self.gradient = (
            torch.where(rows, new, old)
            for new, old in ((x, self.best), (now.gradient, self.gradient))
        )
        self.loss = torch.where(better, now.loss, self.loss)

    def check(self, steps: int) -> Tensor:
        """Halve the steps that are too long, seen over the last ``steps``; which, (N, 1, 1, 1)."""
        stalls = self.risen < RHO * steps
        stands = ~self._was_halved & (self.loss <= self._loss_then)
        halved = stalls | stands
        self.step_size = torch.where(halved.view(-1, 1, 1, 1), self.step_size / 2, self.step_size)
        self._was_halved, self._loss_then = halved, self.loss.clone()
        self.risen = torch.zeros_like(self.risen)
        return halved.view(-1, 1, 1, 1)


class Fooling:
    """The point of each image that fools the victim, on average over the looks, by most."""

    def __init__(self, x: Tensor, now: Expected, labels: Tensor):
        self.point, self.labels = x.clone(), labels
        self.done = torch.zeros_like(labels, dtype=torch.bool)
        self._margin = torch.zeros_like(now.loss)
        self.improve(x, now)

    def improve(self, x: Tensor, now: Expected) -> None:
        """Take note of points that do."""
        lead = margin(now.logits, self.labels)
        better = lead > self._margin
        self.point = torch.where(better.view(-1, 1, 1, 1), x, self.point)
        self._margin = torch.where(better, lead, self._margin)
        self.done |= better


def _random_start(images: Tensor, threat: Threat, seeds: Sequence[int]) -> Tensor:
    """As AutoAttack starts: on the sphere of radius ε."""
    rows = noise(seeds, images.shape[1:], images.device, images.dtype)
    if threat.norm == "linf":
        rows = torch.special.ndtr(rows) * 2 - 1
        rows = rows / rows.abs().flatten(1).amax(dim=1).view(-1, 1, 1, 1)
    else:
        rows = unit(rows)
    return project(images + threat.eps * rows, images, threat.eps, threat.norm)
