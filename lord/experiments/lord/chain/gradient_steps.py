"""Single gradient steps that attacks are compared with: the least there could be, a naive loop."""

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.attacks.objectives import ENCODER_WEIGHT
from lord.models.diffusion import noised, predict, training_schedule
from lord.models.pipeline import encode_images


def floor_step(pipeline: StableDiffusionPipeline, images: Tensor, text: Tensor) -> None:
    """One encoder and one U-Net, forward and backward, and nothing else."""
    pixels = images.clone().requires_grad_()
    latents = encode_images(pipeline, pixels)
    times = torch.full((len(images),), 500, device=images.device)
    prediction = predict(pipeline.unet, latents, times, text)
    torch.autograd.grad(prediction.square().sum(), pixels)


def naive_step(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    text: Tensor,
    target: Tensor,
    seeds: list[int],
) -> None:
    """The published loop of ACE+: image by image, with an encoder pass for each of its terms."""
    schedule = training_schedule(pipeline)
    for row, seed in enumerate(seeds):
        pixels = images[row : row + 1].clone().requires_grad_()
        noisy, times, _ = noised(schedule, encode_images(pipeline, pixels).float(), [seed])
        prediction = predict(pipeline.unet, noisy, times, text[row : row + 1])
        loss = -(prediction - target).square().mean()
        loss -= ENCODER_WEIGHT * (encode_images(pipeline, pixels) - target).square().mean()
        torch.autograd.grad(loss, pixels)
