"""Variation by an unconditional model in pixel space, which has no encoder."""

from collections.abc import Sequence

import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMPipeline
from torch import Tensor

from lord.editing.settings import EditSettings
from lord.models.pixel import noise_shape
from lord.seeding import noise


def vary(
    pipeline: DDPMPipeline, images: Tensor, seeds: Sequence[int], settings: EditSettings
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], noised to a strength and denoised.

    SDEdit (Meng et al., arXiv:2108.01073) with the steps of DDIM that stock image variation takes;
    differentiable in the images, which are scaled to the model's size and back.
    """
    shape, size = noise_shape(pipeline), images.shape[2:]
    images = _scaled(images.to(pipeline.device), shape[1:])
    sampler = DDIMScheduler.from_config(pipeline.scheduler.config)
    sampler.set_timesteps(settings.steps, device=images.device)
    times = sampler.timesteps[-max(1, int(settings.steps * settings.strength)) :]
    epsilon = noise(seeds, shape, images.device, images.dtype)
    x = sampler.add_noise(images * 2 - 1, epsilon, times[:1])
    for time in times:
        x = sampler.step(pipeline.unet(x, time).sample, time, x).prev_sample
    return _scaled((x / 2 + 0.5).clamp(0, 1), size)


def _scaled(images: Tensor, size: Sequence[int]) -> Tensor:
    if images.shape[2:] == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", antialias=True)
