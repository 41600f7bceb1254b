"""Purifiers that noise a picture itself, and denoise it with an unconditional model.

All are one chain, `lord.models.pixel.noise_and_denoise`: a picture is noised to t* and denoised in
steps, by the noise prediction with guidance or without. The chain may be repeated. Methods differ
in what guides and in how they repeat:

- DiffPure (Nie et al., arXiv:2205.07460): once, stochastic or by the probability flow;
- GrIDPure (Zhao et al., arXiv:2312.00084): by little and often;
- GDMP (Wang et al., arXiv:2205.14969): guided to the attacked picture, by the distance of pixels;
- the robust reverse process (Lin et al., arXiv:2403.16067): guided by a classifier that was trained
  adversarially, by its classes and its latent representation.

Everything is differentiable in the pictures, exactly: gradients go through every step, guidance
included. Larger pictures than the model's go through it in windows, as GrIDPure's do.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lord.models.classifiers import Classifier
from lord.models.pixel import (
    kept_signal,
    noise_and_denoise,
    noise_predictor,
    noise_shape,
    training_schedule,
)
from lord.purifiers.settings import GUIDED, PixelPurifier
from lord.seeding import derive_seed, noise

KEPT_PASSES = 8
"""Longer chains keep no activations for the way back, but compute those of each pass again, so that
memory does not grow with them."""

Guide = Callable[[Tensor, Tensor], Tensor]
"""From a picture (N, C, H, W) in [-1, 1] and ᾱ of its noise, to the gradient g."""


def purify_pixels(
    pipeline: DDPMPipeline,
    images: Tensor,
    seeds: Sequence[int],
    settings: PixelPurifier,
    auxiliary: Classifier | None = None,
) -> Tensor:
    """Purified images (N, C, H, W) in [0, 1], differentiable in the images.

    An image's random numbers depend on its seed alone.

    Args:
        images: shape (N, C, H, W) in [0, 1], of any size.
        seeds: one for each image.
        auxiliary: the adversarially trained classifier, which the robust reverse process needs.

    Raises:
        ValueError: a method without the classifier that it needs, or a t* outside the schedule.
    """
    if settings.method == "robust" and auxiliary is None:
        raise ValueError("robust: needs an adversarially trained classifier as auxiliary network")
    schedule = training_schedule(pipeline)
    alphas = kept_signal(schedule).to(pipeline.device)
    if settings.timestep >= len(alphas):
        raise ValueError(f"timestep: the schedule has {len(alphas) - 1}, got {settings.timestep}")

    denoiser = noise_predictor(pipeline, schedule)
    for number in range(settings.rounds):
        own = [derive_seed(seed, "round", number) for seed in seeds]

        def chain(windows: Tensor, seeds: Sequence[int]) -> Tensor:
            return _one_round(denoiser, windows, seeds, settings, alphas, auxiliary)

        clean = through_windows(images, noise_shape(pipeline)[1:], own, chain)
        images = (1 - settings.kept) * clean + settings.kept * images
    return images


def _one_round(
    denoiser: Callable[[Tensor, int], Tensor],
    images: Tensor,
    seeds: Sequence[int],
    settings: PixelPurifier,
    alphas: Tensor,
    auxiliary: Classifier | None,
) -> Tensor:
    """One round of pictures of the model's size, in [0, 1] both; the denoiser predicts noise."""

    def drawn(*name: object) -> Tensor:
        own = [derive_seed(seed, *name) for seed in seeds]
        return noise(own, images.shape[1:], images.device, images.dtype)

    original, epsilon = images * 2 - 1, drawn("purify")
    guide = _guide(settings, original, epsilon, auxiliary)

    def predict(x: Tensor, time: int) -> Tensor:
        if settings.passes > KEPT_PASSES and torch.is_grad_enabled():
            predicted = checkpoint(denoiser, x, time, use_reentrant=False)
        else:
            predicted = denoiser(x, time)
        if guide is None:
            return predicted
        return predicted + _guidance(guide, x, predicted, alphas[time + 1].to(x), settings)

    def fresh(time: int) -> Tensor:
        return drawn("step", time)

    x = noise_and_denoise(
        predict,
        original,
        epsilon,
        alphas,
        settings.times,
        None if settings.method == "diffpure_ode" else fresh,
    )
    return (x / 2 + 0.5).clamp(0, 1)


def _guidance(
    guide: Guide, x: Tensor, predicted: Tensor, signal: Tensor, settings: PixelPurifier
) -> Tensor:
    """What is added to the noise prediction, cut where it is too long."""
    seen = x
    if settings.guided == "predicted":
        seen = (x - (1 - signal).sqrt() * predicted) / signal.sqrt()
    gradient = guide(seen, signal)
    if settings.guided == "predicted":
        gradient = gradient / signal.sqrt()
    strength = settings.scale
    if settings.schedule == "noise":
        strength = strength * ((1 - signal) / signal).sqrt()
    added = (1 - signal).sqrt() * strength * gradient
    if settings.limit is None:
        return added
    length, most = (v.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for v in (added, predicted))
    return added * (settings.limit * most / length.clamp(min=1e-12)).clamp(max=1)


def _guide(
    settings: PixelPurifier, original: Tensor, epsilon: Tensor, auxiliary: Classifier | None
) -> Guide | None:
    if settings.method not in GUIDED:
        return None
    if settings.method == "gdmp":
        return _to_pixels(original, epsilon, settings)
    return _to_latents(original, auxiliary, settings)


def _to_pixels(original: Tensor, epsilon: Tensor, settings: PixelPurifier) -> Guide:
    """The gradient of ½‖x − y‖²: y is the attacked picture, noised as much as x is and by the same
    ϵ, or as it is beside a predicted one."""

    def guide(x: Tensor, signal: Tensor) -> Tensor:
        if settings.guided == "predicted":
            return x - original
        return x - (signal.sqrt() * original + (1 - signal).sqrt() * epsilon)

    return guide


def _to_latents(original: Tensor, auxiliary: Classifier, settings: PixelPurifier) -> Guide:
    """The gradient of D(c(x), c(y)) − Σ_k p(k|y) log p(k|x) for the attacked picture y.

    p(x_{t−1}|x_t, k, y) ∝ p(x_{t−1}|x_t) p(y|x_t) p(k|x_t) with p(y|x) ∝ exp(−D), D the mean square
    distance of features. At test nobody gives the class k: its place takes what the auxiliary
    network expects of y, all classes by their probability, which keeps the way open for gradients.
    """
    place = auxiliary.features(original / 2 + 0.5)
    expected = auxiliary.head(place).softmax(dim=1)

    def lowered(x: Tensor) -> Tensor:
        features = auxiliary.features(x / 2 + 0.5)
        distance = (features - place).square().mean(dim=1)
        likely = (expected * F.log_softmax(auxiliary.head(features), dim=1)).sum(dim=1)
        return settings.latent_weight * distance - settings.class_weight * likely

    def guide(x: Tensor, signal: Tensor) -> Tensor:
        through = torch.is_grad_enabled() and x.requires_grad
        with torch.enable_grad():
            own = x if through else x.detach().requires_grad_()
            value = lowered(own).sum()
            return torch.autograd.grad(value, own, create_graph=through)[0]

    return guide


def through_windows(
    images: Tensor,
    size: tuple[int, int],
    seeds: Sequence[int],
    chain: Callable[[Tensor, Sequence[int]], Tensor],
) -> Tensor:
    """Images (N, C, H, W) of any size, piece by piece through what takes one size.

    Windows of that size at half steps, the last ones at the border, and one more put together from
    the four corners of the image; where they overlap their mean counts. Smaller images are
    continued at their edges.
    """
    (height, width), (tall, wide) = images.shape[-2:], size
    if height <= tall and width <= wide:
        padded = F.pad(images, (0, wide - width, 0, tall - height), mode="replicate")
        return chain(padded, seeds)[..., :height, :width]
    right, below = max(0, wide - width), max(0, tall - height)
    images = F.pad(images, (0, right, 0, below), mode="replicate")
    total, count = torch.zeros_like(images), torch.zeros_like(images)
    for number, places in enumerate(_windows(*images.shape[-2:], tall, wide)):
        window = torch.cat(
            [torch.cat([images[..., y, x] for y, x in row], dim=-1) for row in places], dim=-2
        )
        done = chain(window, [derive_seed(seed, "window", number) for seed in seeds])
        top = 0
        for row in places:
            left = 0
            for y, x in row:
                high, broad = y.stop - y.start, x.stop - x.start
                piece = done[..., top : top + high, left : left + broad]
                total = total + _placed(piece, y, x, images)
                count[..., y, x] += 1
                left += broad
            top += high
    return (total / count)[..., :height, :width]


def _placed(piece: Tensor, y: slice, x: slice, images: Tensor) -> Tensor:
    """The piece where it belongs in an image of zeros; the way back stays open."""
    height, width = images.shape[-2:]
    return F.pad(piece, (x.start, width - x.stop, y.start, height - y.stop))


def _windows(
    height: int, width: int, tall: int, wide: int
) -> list[list[list[tuple[slice, slice]]]]:
    """Each window as rows of pieces of the image; all but the last are of one piece."""

    def starts(whole: int, part: int) -> list[int]:
        return [*range(0, whole - part, max(1, part // 2)), whole - part]

    found = [
        [[(slice(y, y + tall), slice(x, x + wide))]]
        for y in starts(height, tall)
        for x in starts(width, wide)
    ]
    ys = [slice(0, tall // 2), slice(height - (tall - tall // 2), height)]
    xs = [slice(0, wide // 2), slice(width - (wide - wide // 2), width)]
    return [*found, [[(y, x) for x in xs] for y in ys]]
