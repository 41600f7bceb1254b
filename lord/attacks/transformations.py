"""Transformations inside an attack's loop (EOT), so that what survives them is perturbed.

Expectation over transformation (Athalye et al., arXiv:1707.07397): every gradient step sees the
images through one random draw of each transformation, and the gradient passes through it.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lord.metrics import degradations
from lord.seeding import derive_seed, generators

JPEG_SEVERITY, BLUR_SEVERITY, SMALLEST = 0.6, 0.6, 0.5
"""How far a draw may go: JPEG down to quality 16, blur up to 1.5 pixels at 64 × 64, half size."""


def _uniform(seeds: Sequence[int], low: float, high: float) -> Tensor:
    draws = [torch.rand((), generator=generator) for generator in generators(seeds)]
    return low + (high - low) * torch.stack(draws)


def jpeg(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """A real JPEG file of random quality; the gradient passes as if nothing had happened (BPDA)."""
    severity = _uniform(seeds, 0, JPEG_SEVERITY)
    compressed = degradations.jpeg(images.detach(), severity, seeds)
    return images + (compressed - images).detach()


def resize(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """Down to a random size and back, bilinear."""
    height, width = images.shape[-2:]
    resized = []
    for image, scale in zip(images.split(1), _uniform(seeds, SMALLEST, 1).tolist(), strict=True):
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        small = F.interpolate(image, size, mode="bilinear", antialias=True)
        resized.append(F.interpolate(small, (height, width), mode="bilinear"))
    return torch.cat(resized)


def flip(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """Left and right exchanged, or not."""
    chosen = _uniform(seeds, 0, 1).view(-1, 1, 1, 1).to(images.device) < 0.5
    return torch.where(chosen, images.flip(-1), images)


def blur(images: Tensor, seeds: Sequence[int]) -> Tensor:
    """Gaussian blur of random width."""
    return degradations.blur(images, _uniform(seeds, 0, BLUR_SEVERITY), seeds)


TRANSFORMATIONS: dict[str, Callable[[Tensor, Sequence[int]], Tensor]] = {
    "jpeg": jpeg,
    "resize": resize,
    "flip": flip,
    "blur": blur,
}


def transform(images: Tensor, names: Sequence[str], seeds: Sequence[int]) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] after each named transformation in turn; one seed per image."""
    for name in names:
        images = TRANSFORMATIONS[name](images, [derive_seed(seed, name) for seed in seeds])
    return images
