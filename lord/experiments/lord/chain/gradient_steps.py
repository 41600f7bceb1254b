"""Single gradient steps that attacks are compared with: the least there could be, a naive loop."""

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.attacks.objectives import ENCODER_WEIGHT
from lord.models.conditioning import Conditioning
from lord.models.diffusion import noised, predict, training_schedule
from lord.models.pipeline import encode_images, encode_prompts


def floor_step(pipeline: StableDiffusionPipeline, images: Tensor, text: Conditioning) -> None:
    """One encoder and one U-Net, forward and backward, and nothing else."""
    pixels = images.clone().requires_grad_()
    latents = encode_images(pipeline, pixels)
    times = torch.full((len(images),), 500, device=images.device)
    prediction = predict(pipeline.unet, latents, times, text)
    torch.autograd.grad(prediction.square().sum(), pixels)


def naive_step(
    pipeline: StableDiffusionPipeline, images: Tensor, prompt: str, target: Tensor, seeds: list[int]
) -> None:
    """The loop of mist-v2 for ACE+: image by image, with its prompt encoded anew each time.

    To save memory it encodes twice: without a gradient for the loss, which goes back to the latent
    alone, and once more to take the gradient on to the pixels. Not timed is that the encoder is
    checkpointed there, which costs a third pass.
    """
    schedule = training_schedule(pipeline)
    for row, seed in enumerate(seeds):
        pixels = images[row : row + 1].clone().requires_grad_()
        with torch.no_grad():
            latents = encode_images(pipeline, pixels).float()
        latents.requires_grad_()
        noisy, times, _ = noised(schedule, latents, [seed])
        prediction = predict(pipeline.unet, noisy, times, encode_prompts(pipeline, [prompt]))
        loss = -(prediction - target).square().mean()
        loss -= ENCODER_WEIGHT * (latents - target).square().mean()
        (gradient,) = torch.autograd.grad(loss, latents)
        torch.autograd.grad(encode_images(pipeline, pixels).float(), pixels, gradient)
