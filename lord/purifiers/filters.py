"""Purifiers that know nothing but the picture."""

import math
from collections.abc import Sequence

import torch
from diffusers import StableDiffusionPipeline
from kornia.filters import bilateral_blur, gaussian_blur2d, guided_blur
from kornia.losses import total_variation as variation
from torch import Tensor

from lord.metrics import degradations
from lord.purifiers.minimise import minimise


def jpeg(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    quality: int = 75,
) -> Tensor:
    """A JPEG file written and read back."""
    severity = math.log(95 / quality) / math.log(95 / 5)
    return degradations.jpeg(images, torch.full((len(images),), severity), seeds)


def blur(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sigma: float = 1.0,
) -> Tensor:
    """Gaussian blur; ``sigma`` in pixels."""
    return gaussian_blur2d(images, 2 * math.ceil(3 * sigma) + 1, (sigma, sigma))


def total_variation(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    weight: float = 0.05,
    steps: int = 100,
) -> Tensor:
    """The minimum of ½‖x − y‖² + weight · TV(x) (Rudin, Osher and Fatemi, 1992), by Adam."""

    def objective(x: Tensor) -> Tensor:
        return 0.5 * (x - images).square().sum() + weight * variation(x).sum()

    return minimise(objective, images, steps, learning_rate=0.01)


def adverse_cleaner(
    pipeline: StableDiffusionPipeline,
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
