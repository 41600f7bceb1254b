"""A latent model at one prompt, taken for an unconditional model of its latents."""

from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn

from lord.models.pipeline import encode_prompts


def at_prompt(pipeline: StableDiffusionPipeline, prompt: str) -> DDPMPipeline:
    """A latent model at one prompt as an unconditional model of its latents; shares its weights."""
    unconditional = DDPMPipeline(
        pipeline.unet, DDPMScheduler.from_config(pipeline.scheduler.config)
    )
    unconditional.unet = Prompted(pipeline.unet, encode_prompts(pipeline, [prompt]).text)
    return unconditional


class Prompted(nn.Module):
    """The U-Net of a latent model at one prompt, called as that of an unconditional model.

    Args:
        embedding: of the prompt, shape (1, L, D).
    """

    def __init__(self, unet: UNet2DConditionModel, embedding: Tensor) -> None:
        super().__init__()
        self.unet, self.config = unet, unet.config
        self.register_buffer("embedding", embedding)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.device

    def forward(self, x: Tensor, times: Tensor) -> Any:
        """The answer to x_t, shape (N, C, h, w), at t, one or for each image."""
        states = self.embedding.expand(len(x), -1, -1)
        return self.unet(x, times, encoder_hidden_states=states)
