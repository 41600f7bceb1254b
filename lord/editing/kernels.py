"""Making pictures small, in the ways in which small pictures come about."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor


def gaussian(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Blur with a deviation of half the factor, then every so many pixels."""
    sigma = max(images.shape[2] / size[0] / 2, 0.3)
    side = min(2 * round(2 * sigma) + 1, 2 * (min(images.shape[2:]) // 2) - 1)
    blurred = gaussian_blur2d(images, (side, side), (sigma, sigma))
    return F.interpolate(blurred, size, mode="nearest-exact")


KERNELS: dict[str, Callable[[Tensor, tuple[int, int]], Tensor]] = {
    "box": partial(F.interpolate, mode="area"),
    "bilinear": partial(F.interpolate, mode="bilinear", antialias=True),
    "bicubic": partial(F.interpolate, mode="bicubic", antialias=True),
    "gaussian": gaussian,
}
"""Each from images (N, 3, H, W) and a size to images of that size."""


def shrink(images: Tensor, factor: int, kernel: str) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] made ``factor`` times smaller, rounded up to whole pixels.

    Raises:
        ValueError: an unknown kernel.
    """
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}: choose one of {', '.join(KERNELS)}")
    height, width = (-(-side // factor) for side in images.shape[2:])
    return KERNELS[kernel](images, (height, width)).clamp(0, 1)
