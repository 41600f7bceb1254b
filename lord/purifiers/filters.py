"""Purifiers that know nothing but the picture."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from kornia.filters import bilateral_blur, gaussian_blur2d, guided_blur
from torch import Tensor

from lord.metrics import degradations
from lord.models.diffusion import Pipeline
from lord.seeding import derive_seed, noise


def jpeg(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    quality: int = 75,
) -> Tensor:
    """A JPEG file written and read back."""
    severity = math.log(95 / quality) / math.log(95 / 5)
    return degradations.jpeg(images, torch.full((len(images),), severity), seeds)


def blur(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sigma: float = 1.0,
) -> Tensor:
    """Gaussian blur; ``sigma`` in pixels."""
    return gaussian_blur2d(images, 2 * math.ceil(3 * sigma) + 1, (sigma, sigma))


def gaussian_noise(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sigma: float = 0.05,
) -> Tensor:
    """Noise of a standard deviation ``sigma`` in every pixel, cut to [0, 1].

    The baseline of Hönig et al. (arXiv:2406.12027), with their σ: what is learned is as noisy.
    """
    own = [derive_seed(seed, "gaussian noise") for seed in seeds]
    return (images + sigma * noise(own, images.shape[1:], images.device)).clamp(0, 1)


def total_variation(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    weight: float = 0.05,
    steps: int = 300,
) -> Tensor:
    """The minimum of ½‖x − y‖² + weight · TV(x), TV(x) the sum of |differences| of neighbours.

    Rudin, Osher and Fatemi (1992), in the anisotropic form. The minimum is x = y + weight · div p
    for the p in [−1, 1], one for each difference, that makes x shortest; p is found by the fast
    projected gradient of Beck and Teboulle (2009, doi:10.1109/TIP.2009.2028250), which is within
    0.1 % of the minimum after ``steps``.
    """
    found = ahead = differences(torch.zeros_like(images))
    momentum = 1.0
    for _ in range(steps):
        uphill = differences(images + weight * divergence(ahead)) / (8 * weight)
        before, found = found, (ahead + uphill).clamp(-1, 1)
        before_momentum, momentum = momentum, (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = found + (before_momentum - 1) / momentum * (found - before)
    return images + weight * divergence(found)


def differences(images: Tensor) -> Tensor:
    """Of each pixel from the next one to the right and below, 0 at the edge: (2, N, C, H, W)."""
    right, below = images.diff(dim=-1), images.diff(dim=-2)
    return torch.stack((F.pad(right, (0, 1)), F.pad(below, (0, 0, 0, 1))))


def divergence(field: Tensor) -> Tensor:
    """Minus the transpose of `differences`, from (2, N, C, H, W) to (N, C, H, W)."""
    right, below = field
    return F.pad(right, (1, 0)).diff(dim=-1) + F.pad(below, (0, 0, 1, 0)).diff(dim=-2)


def adverse_cleaner(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> Tensor:
    """AdverseCleaner: a bilateral filter 64 times, then a guided filter 4 times.

    The guide is the attacked image, which gives the edges back; the constants are those of the
    public program, on the scale of 8-bit pixels.
    """
    smooth = images
    for _ in range(64):
        smooth = bilateral_blur(smooth, 5, 8 / 255, (8.0, 8.0))
    for _ in range(4):
        smooth = guided_blur(images, smooth, 9, 16 / 255**2)
    return smooth
