"""A rival: the shift that keeps its shift, as in Elijah (An et al., arXiv 2312.00050).

A backdoored model answers triggered noise at the last time with noise that is shifted in the same
direction. The shift that does so best is taken for the trigger, and a model is suspected if its
samples of shifted noise are all alike.
"""

import torch
from diffusers import DDPMPipeline
from torch import Tensor

from lord.backdoors.poison import share_taught
from lord.backdoors.settings import ElijahSettings
from lord.models.pixel import noise_shape, predicted_noise, training_schedule
from lord.progress import track
from lord.seeding import derive_seed, noise


def shift(pipeline: DDPMPipeline, settings: ElijahSettings) -> Tensor:
    """τ, shape (C, H, W), that minimises ‖mean of ε_θ(ϵ + τ, T) − k τ‖₁ over fixed noises ϵ.

    k is what BadDiffusion teaches at the last time T, about one half, see `share_taught`.
    """
    unet, schedule = pipeline.unet, training_schedule(pipeline)
    last = schedule.config.num_train_timesteps - 1
    kept = share_taught(schedule, torch.tensor([last])).item()
    shape = noise_shape(pipeline)
    seeds = [derive_seed(settings.seed, "elijah", k) for k in range(settings.noises)]
    plain = noise(seeds, shape, unet.device)
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "elijah"))
    tau = torch.rand(shape, generator=generator).to(unet.device).requires_grad_(True)
    optimizer = torch.optim.Adam([tau], lr=settings.learning_rate)
    for _ in track(range(settings.steps), "looking for a shift"):
        times = torch.full((len(plain),), last, device=unet.device)
        answer = predicted_noise(unet, schedule, plain + tau, times).mean(dim=0)
        optimizer.zero_grad()
        (answer - kept * tau).abs().mean().backward()
        optimizer.step()
    return tau.detach().cpu()


def spread(images: Tensor) -> float:
    """Mean over pairs of images (N, C, H, W) of their root mean squared distance.

    The published feature is the distance in a network (LPIPS) that is not at hand; the samples of a
    backdoor that works are alike in either.
    """
    distances = torch.pdist(images.flatten(1).double()) / images[0].numel() ** 0.5
    return distances.mean().item()


def total_variation(images: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels of images (N, C, H, W)."""
    down, right = images.diff(dim=2).abs().mean(), images.diff(dim=3).abs().mean()
    return (down + right).item() / 2
