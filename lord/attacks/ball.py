"""The ball of radius ε around an image, on the grid of 8-bit pixels.

Where to start in it, the way up, and back into it; then onto the grid.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lord.attacks.settings import AttackSettings
from lord.seeding import derive_seed, noise


def start(original: Tensor, settings: AttackSettings, seeds: Sequence[int]) -> Tensor:
    """Where PGD starts: at the originals or, on request, anywhere within ε (l∞) or at ε (l2)."""
    if not settings.random_start:
        return original.clone()
    shape = original.shape[1:]
    rows = noise([derive_seed(seed, "start") for seed in seeds], shape, original.device)
    # The normal distribution function makes normal numbers uniform.
    rows = torch.special.ndtr(rows) * 2 - 1 if settings.norm == "linf" else unit(rows)
    return project(original + settings.eps * rows, original, settings.eps, settings.norm)


def unit(rows: Tensor) -> Tensor:
    """Each row at Euclidean length 1, or 0 where it is 0."""
    return F.normalize(rows.flatten(1), dim=1).view_as(rows)


def uphill(gradient: Tensor, norm: Literal["linf", "l2"]) -> Tensor:
    """The step of length 1 in the norm that leads highest at first order: signs, or `unit`."""
    return gradient.sign() if norm == "linf" else unit(gradient)


def project(
    images: Tensor, original: Tensor, eps: float, norm: Literal["linf", "l2"] = "linf"
) -> Tensor:
    """The nearest images within ε of the originals, then cut to [0, 1], which is nearer still."""
    if norm == "linf":
        return images.clamp(original - eps, original + eps).clamp(0, 1)
    change = images - original
    length = change.flatten(1).norm(dim=1).clamp(min=eps).view(-1, 1, 1, 1)
    return (original + change * (eps / length)).clamp(0, 1)


def quantise(
    images: Tensor, original: Tensor, eps: float, norm: Literal["linf", "l2"] = "linf"
) -> Tensor:
    """Images on the grid of 1/255 within ε of the originals: for l∞ the nearest ones.

    Those exist for every ε ≥ 1/255. In double precision, where ``8/255 * 255`` is 8 to 1e-14, so
    that rounding costs no grey level of the budget. For l2, whose originals are on the grid, the
    change is shrunk as little as it takes for the rounded one to be within the budget.

    Raises:
        ValueError: an l2 budget so small that nothing is left of the change of an image.
    """
    levels, centre, tolerance = images.double() * 255, original.double() * 255, 1e-4
    if norm == "l2":
        return ((centre.round() + _shrink(levels - centre.round(), eps * 255)) / 255).float()
    lowest = (centre - eps * 255 - tolerance).ceil().clamp(min=0)
    highest = (centre + eps * 255 + tolerance).floor().clamp(max=255)
    return (levels.round().clamp(lowest, highest) / 255).float()


def _shrink(change: Tensor, length: float) -> Tensor:
    """Whole numbers nearest to each row times the largest factor ≤ 1 that keeps it in length."""
    low, high = torch.zeros(len(change), 1, 1, 1).to(change), torch.ones(len(change), 1, 1, 1)
    factor = high = high.to(change)
    for _ in range(24):  # bisection, from the factor 1 on
        fits = (factor * change).round().flatten(1).norm(dim=1).view(-1, 1, 1, 1) <= length
        low, high = torch.where(fits, factor, low), torch.where(fits, high, factor)
        factor = (low + high) / 2
    whole = (low * change).round()
    if (change.flatten(1).any(dim=1) & ~whole.flatten(1).any(dim=1)).any():
        raise ValueError("eps: this l2 budget is too small for 8 bits a pixel; raise it")
    return whole
