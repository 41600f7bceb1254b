"""What an attack raises, on draws of timestep and noise that it has not seen."""

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.attacks.pgd import load_target, objective_values
from lord.attacks.settings import AttackSettings
from lord.models.pipeline import encode_prompts
from lord.names import TARGETED
from lord.seeding import derive_seed


@torch.no_grad()
def objective(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompt: str,
    settings: AttackSettings,
    draws: int,
) -> float:
    """What the attack raises, on images (N, 3, H, W) in [0, 1], as a mean over draws."""
    text = encode_prompts(pipeline, [prompt] * len(images))
    target = None
    if settings.method in TARGETED:
        target = load_target(pipeline, settings.target, *images.shape[2:])
    total = 0.0
    for draw in range(draws):
        seeds = [derive_seed("masking", draw, k) for k in range(len(images))]
        values = objective_values(pipeline, images, text, settings, target, seeds)
        total += values.mean().item() / draws
    return total
