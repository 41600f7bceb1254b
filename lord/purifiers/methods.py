"""Purification: making attacked images harmless before anyone trains on them.

The alternatives to a defence in the fine-tuning. Four filters know nothing but the picture:
`jpeg`, `blur`, `total_variation` and `adverse_cleaner`. Four use the model: `diffpure` noises the
image and denoises it again, `gridpure` does so by little and often, `impress` looks for the nearby
image that survives the autoencoder, and `cat` trains the autoencoder until the image does.

Every function maps a pipeline, images (N, 3, H, W) in [0, 1], a prompt and a seed for each, to
images of the same shape and range; filters ignore what they do not need. An image's result depends
on its own seed alone, but for `cat`, which learns from all images together.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lord.models.diffusion import Pipeline
from lord.models.pipeline import check_captions, check_images, pad
from lord.progress import track
from lord.purifiers.autoencoder import cat, impress
from lord.purifiers.filters import adverse_cleaner, blur, jpeg, total_variation
from lord.purifiers.latent_diffusion import diffpure, gridpure

Purifier = Callable[[Pipeline, Tensor, Sequence[str], Sequence[int]], Tensor]


def purify(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    method: str,
    batch_size: int = 16,
) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] after one of `PURIFIERS`, float32 on the device of ``images``.

    Raises:
        ValueError: an unknown method, or images, prompts or seeds that do not fit.
        FloatingPointError: a picture is not finite.
    """
    if method not in PURIFIERS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(PURIFIERS)}")
    check_images(images)
    check_captions(prompts, images)
    if len(seeds) != len(images):
        raise ValueError(f"seeds: expected one per image, for {len(images)} images")
    clean, batch_size = [], len(images) if method in TOGETHER else batch_size
    height, width = images.shape[2:]
    for first in track(range(0, len(images), batch_size), method):
        rows = slice(first, first + batch_size)
        batch = pad(pipeline, images[rows].float().to(pipeline.device))
        batch = PURIFIERS[method](pipeline, batch, prompts[rows], seeds[rows])
        if not batch.isfinite().all():
            raise FloatingPointError(f"{method}: a picture is not finite; try --dtype float32")
        clean.append(batch[..., :height, :width].clamp(0, 1).to(images.device))
    return torch.cat(clean)


TOGETHER = frozenset({"cat"})
"""The methods that learn from all images together."""


PURIFIERS: dict[str, Purifier] = {
    "jpeg": jpeg,
    "blur": blur,
    "total_variation": total_variation,
    "adverse_cleaner": adverse_cleaner,
    "diffpure": diffpure,
    "gridpure": gridpure,
    "impress": impress,
    "cat": cat,
}
