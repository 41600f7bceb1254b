"""Purification: making attacked images harmless before anyone trains on them.

The alternatives to a defence in the fine-tuning. Five filters know nothing but the picture: `jpeg`,
`blur`, `total_variation`, `adverse_cleaner` and `gaussian_noise`. Five use the model: `round_trip`
asks its autoencoder alone, `diffpure` noises the image's latents and denoises them again,
`gridpure` does so by little and often, `impress` looks for the nearby image that survives the
autoencoder, and `cat` trains the autoencoder until the image does. Four do in pixels, with an
unconditional model, what was published for pixels: `pixel_diffpure`, `pixel_diffpure_ode`,
`pixel_gdmp` and `pixel_gridpure`, as `lord.purifiers.pixel_diffusion` explains.

Every function maps a pipeline, images (N, 3, H, W) in [0, 1], a prompt and a seed for each, to
images of the same shape and range; filters ignore what they do not need. An image's result depends
on its own seed alone, but for `cat`, which learns from all images together.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from diffusers import DDPMPipeline
from torch import Tensor

from lord.models.diffusion import Pipeline
from lord.models.memory import BATCH
from lord.models.pipeline import check_captions, check_images, pad
from lord.models.pixel import noise_shape, scaled
from lord.names import IN_PIXELS
from lord.progress import track
from lord.purifiers.autoencoder import cat, impress, round_trip
from lord.purifiers.filters import adverse_cleaner, blur, gaussian_noise, jpeg, total_variation
from lord.purifiers.latent_diffusion import diffpure, gridpure
from lord.purifiers.pixel_diffusion import purify_pixels
from lord.purifiers.settings import PixelPurifier

Model = Pipeline | DDPMPipeline
Purifier = Callable[[Model, Tensor, Sequence[str], Sequence[int]], Tensor]


def purify(
    pipeline: Model,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    method: str,
    batch_size: int = BATCH,
) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] after one of `PURIFIERS`, float32 on the device of ``images``.

    Args:
        pipeline: the model of the method: an unconditional one for those in pixels.

    Raises:
        ValueError: an unknown method, a model of the other kind, or images, prompts or seeds that
            do not fit.
        FloatingPointError: a picture is not finite.
    """
    if method not in PURIFIERS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(PURIFIERS)}")
    check_images(images)
    check_captions(prompts, images)
    if len(seeds) != len(images):
        raise ValueError(f"seeds: expected one per image, for {len(images)} images")
    if (method in IN_PIXELS) != isinstance(pipeline, DDPMPipeline):
        kind = "an unconditional model in pixel space" if method in IN_PIXELS else "a latent model"
        raise ValueError(f"{method}: works with {kind}, not with a {type(pipeline).__name__}")
    step = PURIFIERS[method]
    if method in TOGETHER:
        step, batch_size = partial(step, at_once=batch_size), len(images)
    clean = []
    height, width = images.shape[2:]
    for first in track(range(0, len(images), batch_size), method):
        rows = slice(first, first + batch_size)
        batch = images[rows].float().to(pipeline.unet.device)
        if method not in IN_PIXELS:
            batch = pad(pipeline, batch)
        batch = step(pipeline, batch, prompts[rows], seeds[rows])
        if not batch.isfinite().all():
            raise FloatingPointError(f"{method}: a picture is not finite; try --dtype float32")
        clean.append(batch[..., :height, :width].clamp(0, 1).to(images.device))
    return torch.cat(clean)


@torch.no_grad()
def in_pixels(
    settings: PixelPurifier,
    pipeline: DDPMPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> Tensor:
    """`lord.purifiers.pixel_diffusion.purify_pixels` of colour pictures of any size.

    They are scaled so that their shorter side is the model's, and back: a model that has learned
    whole pictures takes parts of larger ones for something else. So what only a larger picture
    shows is lost. The longer side goes through the model in windows.

    Raises:
        ValueError: the model draws no colours, or its schedule ends before t*.
    """
    channels, tall, wide = noise_shape(pipeline)
    if channels != 3:
        raise ValueError(f"the model has {channels} channels; expected 3 (RGB)")
    height, width = images.shape[2:]
    ratio = max(tall / height, wide / width)
    fitting = scaled(images, (round(height * ratio), round(width * ratio)))
    return scaled(purify_pixels(pipeline, fitting, seeds, settings), (height, width))


TOGETHER = frozenset({"cat"})
"""The methods that learn from all images together, so many of them at a time."""


PURIFIERS: dict[str, Purifier] = {
    "jpeg": jpeg,
    "blur": blur,
    "total_variation": total_variation,
    "adverse_cleaner": adverse_cleaner,
    "gaussian_noise": gaussian_noise,
    "round_trip": round_trip,
    "diffpure": diffpure,
    "gridpure": gridpure,
    "impress": impress,
    "cat": cat,
    **{
        name: partial(in_pixels, PixelPurifier(method=name.removeprefix("pixel_")))
        for name in IN_PIXELS
    },
}
