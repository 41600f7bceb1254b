"""The Square attack: random search that sees nothing but logits.

Andriushchenko et al., arXiv:1912.00049. A square of the perturbation is exchanged; what raises the
margin is kept. Since it needs no gradient, a defence that holds against gradients and falls here
has only hidden them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lord.attacks.ball import project
from lord.attacks.evasion.losses import margin
from lord.attacks.evasion.settings import Evasion, Threat
from lord.attacks.evasion.victim import Victim
from lord.seeding import derive_seed, generators

SHARE = 0.8
"""Of the pixels that the first squares cover, as in AutoAttack."""

HALVED_AT = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of all queries after which the squares become half as large."""


def square(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    settings: Evasion,
    seeds: Sequence[int],
) -> Tensor:
    """The images with the highest margin that were found within ε.

    A query of a randomised victim asks it once, with random numbers of its own; images that it got
    wrong, as far as the attacker has seen, are left alone.
    """
    draws = generators([derive_seed(seed, "square") for seed in seeds])
    start = _stripes if threat.norm == "linf" else _tiles
    pairs = zip(images, draws, strict=True)
    best = torch.stack([start(image, threat.eps, draw) for image, draw in pairs])
    best = project(best, images, threat.eps, threat.norm)
    exchange = _coloured if threat.norm == "linf" else _moved
    with torch.no_grad():
        highest = margin(victim.logits(best, victim.seeds(seeds, "query", 0)), labels)
        for query in range(1, settings.steps):
            rows = (highest <= 0).nonzero().flatten().tolist()
            if not rows:
                break
            side = side_of(query, settings.steps, images.shape[-1])
            tried = torch.stack(
                [exchange(best[k], images[k], threat.eps, side, draws[k]) for k in rows]
            )
            tried = project(tried, images[rows], threat.eps, threat.norm)
            own = victim.seeds([seeds[k] for k in rows], "query", query)
            found = margin(victim.logits(tried, own), labels[rows])
            better = found > highest[rows]
            best[rows] = torch.where(better.view(-1, 1, 1, 1), tried, best[rows])
            highest[rows] = torch.where(better, found, highest[rows])
    return best


def side_of(query: int, queries: int, size: int) -> int:
    """The side of the squares at a query, at least 1 pixel."""
    halvings = sum(query > share * queries for share in HALVED_AT)
    return max(1, min(size - 1, round(math.sqrt(SHARE / 2**halvings * size**2))))


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator) * 2.0 - 1


def _corner(image: Tensor, side: int, generator: torch.Generator) -> tuple[slice, slice]:
    """Where a square lies, anywhere in the image."""
    y, x = (
        int(torch.randint(0, whole - side + 1, (), generator=generator))
        for whole in image.shape[-2:]
    )
    return slice(y, y + side), slice(x, x + side)


def _stripes(image: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """Vertical stripes of one pixel, each channel ±ε."""
    channels, _, width = image.shape
    return image + eps * _signs((channels, 1, width), generator).to(image)


def _coloured(
    image: Tensor, original: Tensor, eps: float, side: int, generator: torch.Generator
) -> Tensor:
    """The image with a square of one colour: the original's ±ε in each channel."""
    y, x = _corner(image, side, generator)
    tried = image.clone()
    signs = _signs((len(image), 1, 1), generator).to(image)
    tried[:, y, x] = original[:, y, x] + eps * signs
    return tried


def _pattern(side: int) -> Tensor:
    """η (side, side) at length 1: two halves of opposite sign, each highest at its centre."""
    high = side // 2

    def bump(height: int, width: int) -> Tensor:
        """Rectangles within rectangles, equation 2 of the paper."""
        n = height // 2
        rings = torch.maximum(
            (torch.arange(height) - height // 2).abs()[:, None],
            (torch.arange(width) - width // 2).abs()[None],
        )
        heights = (1 / (n + 1 - torch.arange(n + 1.0)) ** 2).cumsum(0)
        return torch.where(rings <= n, heights[(n - rings).clamp(min=0)], 0.0)

    parts = [bump(high, side), -bump(side - high, side)] if high else [bump(side, side)]
    pattern = torch.cat(parts)
    return pattern / pattern.norm()


def _tiles(image: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """Patterns side by side, at length ε together."""
    channels, height, width = image.shape
    side = max(1, height // 5)
    change = torch.zeros_like(image)
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            pattern = _turned(_pattern(side), generator)
            signs = _signs((channels, 1, 1), generator)
            change[:, top : top + side, left : left + side] = (signs * pattern).to(image)
    return image + eps * change / change.norm()


def _turned(pattern: Tensor, generator: torch.Generator) -> Tensor:
    return pattern.T if torch.rand((), generator=generator) < 0.5 else pattern


def _moved(
    image: Tensor, original: Tensor, eps: float, side: int, generator: torch.Generator
) -> Tensor:
    """The image with the perturbation of one square moved to another, where it takes the shape of
    a pattern added to what was there; the length of the whole becomes ε."""
    change = image - original
    (y, x), (v, u) = (_corner(image, side, generator) for _ in range(2))
    both = torch.zeros_like(change, dtype=torch.bool)
    both[:, y, x] = True
    both[:, v, u] = True
    free = max(0.0, eps**2 - change.square().sum().item()) / len(change)
    available = (change.where(both, 0).square().sum(dim=(1, 2), keepdim=True) + free).sqrt()
    pattern = _signs((len(image), 1, 1), generator) * _turned(_pattern(side), generator)
    shape = _at_length_one(pattern.to(image) + _at_length_one(change[:, y, x]))
    change = change.clone()
    change[:, v, u] = 0
    change[:, y, x] = available * shape
    return original + change


def _at_length_one(square: Tensor) -> Tensor:
    """Each channel of a square (C, H, W) at length 1, or 0 where it is 0."""
    return square / square.flatten(1).norm(dim=1).view(-1, 1, 1).clamp(min=1e-12)
