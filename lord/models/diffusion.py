"""The forward process and the noise prediction, which attack, fine-tuning and defence share.

Training a latent diffusion model, attacking it and defending it all ask for ε_θ(z_t, t, c) at a
random time t and noise ϵ of an image's own.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, StableDiffusionPipeline
from torch import Tensor, nn

from lord.seeding import derive_seed, noise, timesteps


def check_predicts_noise(pipeline: StableDiffusionPipeline) -> None:
    """Raise ValueError for a model that was trained to predict something else than the noise."""
    kind = pipeline.scheduler.config.get("prediction_type", "epsilon")
    if kind != "epsilon":
        raise ValueError(f"the model predicts {kind!r}; only noise prediction is supported")


def training_schedule(pipeline: StableDiffusionPipeline) -> DDPMScheduler:
    """The forward process the model was trained on: DDPM's, whatever scheduler samples."""
    return DDPMScheduler.from_config(pipeline.scheduler.config)


def noised(
    schedule: DDPMScheduler, latents: Tensor, seeds: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """z_t = √ᾱ_t z + √(1−ᾱ_t) ϵ, t and ϵ, with t uniform over the schedule; one seed per row.

    z_t and ϵ are of the shape (N, C, h, w) and precision of ``latents``, which should be single or
    double; t has shape (N,).
    """
    times = timesteps(
        [derive_seed(seed, "timestep") for seed in seeds],
        0,
        schedule.config.num_train_timesteps,
        latents.device,
    )
    epsilon = noise(
        [derive_seed(seed, "noise") for seed in seeds],
        latents.shape[1:],
        latents.device,
        latents.dtype,
    )
    return schedule.add_noise(latents, epsilon, times), times, epsilon


def noised_batch(
    schedule: DDPMScheduler, clean: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """As `noised`, of rows that need no seed each: a batch of training, by one generator of it."""
    epsilon = torch.randn(clean.shape, generator=generator).to(clean.device)
    steps = schedule.config.num_train_timesteps
    times = torch.randint(steps, (len(clean),), generator=generator).to(clean.device)
    return schedule.add_noise(clean, epsilon, times), times, epsilon


def predict(unet: nn.Module, noisy: Tensor, times: Tensor, text: Tensor) -> Tensor:
    """ε_θ(z_t, t, c) in the precision of ``noisy``, computed in that of ``text``, the U-Net's."""
    return unet(noisy.to(text.dtype), times, text, return_dict=False)[0].to(noisy.dtype)


def row_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """mean‖prediction − target‖² of each row, shape (N,)."""
    return F.mse_loss(prediction, target, reduction="none").mean(dim=(1, 2, 3))
