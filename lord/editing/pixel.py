"""Variation by an unconditional model in pixel space, which has no encoder."""

from collections.abc import Sequence

from diffusers import DDIMScheduler, DDPMPipeline
from torch import Tensor

from lord.editing.settings import EditSettings
from lord.models.pixel import (
    kept_signal,
    noise_and_denoise,
    noise_predictor,
    noise_shape,
    scaled,
    training_schedule,
)
from lord.seeding import noise


def vary(
    pipeline: DDPMPipeline, images: Tensor, seeds: Sequence[int], settings: EditSettings
) -> Tensor:
    """Images (N, C, H, W) in [0, 1], noised to a strength and denoised.

    SDEdit (Meng et al., arXiv:2108.01073) at the times that stock image variation takes;
    differentiable in the images, which are scaled to the model's size and back.
    """
    shape, size = noise_shape(pipeline), images.shape[2:]
    images = scaled(images.to(pipeline.device), shape[1:])
    sampler = DDIMScheduler.from_config(pipeline.scheduler.config)
    sampler.set_timesteps(settings.steps)
    times = sampler.timesteps[-max(1, int(settings.steps * settings.strength)) :]
    schedule = training_schedule(pipeline)
    x = noise_and_denoise(
        noise_predictor(pipeline, schedule),
        images * 2 - 1,
        noise(seeds, shape, images.device, images.dtype),
        kept_signal(schedule).to(images.device),
        [*(times + 1).tolist(), 0],
    )
    return scaled((x / 2 + 0.5).clamp(0, 1), size)
