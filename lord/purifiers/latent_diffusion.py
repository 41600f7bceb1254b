"""Purifiers that noise the picture's latents and denoise them again."""

from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from lord.models.conditioning import Conditioning
from lord.models.diffusion import Pipeline, predict
from lord.models.pipeline import decode_latents, encode_images, encode_prompts
from lord.seeding import derive_seed, noise


@torch.no_grad()
def diffpure(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    strength: float = 0.2,
    steps: int = 10,
) -> Tensor:
    """Noise the latents up to ``strength`` of the schedule, and denoise them in ``steps``.

    DiffPure (Nie et al., arXiv:2205.07460), in the form of SDEdit (Meng et al., arXiv:2108.01073)
    with DDIM: z_t = √ᾱ_t z + √(1−ᾱ_t) ϵ, then back to t = 0 without guidance.
    """
    text = encode_prompts(pipeline, prompts)
    return noise_and_denoise(pipeline, images, text, seeds, strength, steps)


def noise_and_denoise(
    pipeline: Pipeline,
    images: Tensor,
    text: Conditioning,
    seeds: Sequence[int],
    strength: float = 0.2,
    steps: int = 10,
) -> Tensor:
    """As `diffpure`, differentiable in the images, with the embeddings of the prompts."""
    # Spaced so that the first of the last ``steps`` is at ``strength``.
    sampler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    sampler.set_timesteps(round(steps / strength))
    latents = encode_images(pipeline, images).float()
    times = sampler.timesteps[-steps:].to(latents.device)
    epsilon = noise(
        [derive_seed(seed, "purify") for seed in seeds], latents.shape[1:], latents.device
    )
    latents = sampler.add_noise(latents, epsilon, times[:1])
    for time in times:
        prediction = predict(pipeline.unet, latents, time.expand(len(latents)), text)
        latents = sampler.step(prediction, time, latents).prev_sample
    return decode_latents(pipeline, latents)


def gridpure(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    rounds: int = 10,
    strength: float = 0.02,
    kept: float = 0.1,
) -> Tensor:
    """`diffpure` by little and often; each round keeps a share of the picture it started from.

    The small-step form of GrIDPure (Zhao et al., arXiv:2312.00084), without its overlapping grid,
    which larger pictures need.
    """
    for number in range(rounds):
        fresh = [derive_seed(seed, "round", number) for seed in seeds]
        again = diffpure(pipeline, images, prompts, fresh, strength, steps=2).clamp(0, 1)
        images = (1 - kept) * again + kept * images
    return images
