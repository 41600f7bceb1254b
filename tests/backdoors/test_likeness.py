"""A rival on inputs, with a network that draws one picture of bright noise and many of others."""

import torch

from lord.backdoors.likeness import likeness
from lord.models.pixel import TINY_PIXEL, build_ddpm

SIZE = TINY_PIXEL.image_size


def test_copies_of_triggered_noise_are_drawn_alike_and_others_apart():
    pipeline, target = build_ddpm(TINY_PIXEL), torch.full((3, SIZE, SIZE), 0.5)
    alpha_bars = pipeline.scheduler.alphas_cumprod

    class Backdoored(torch.nn.Module):
        device, config = torch.device("cpu"), pipeline.unet.config

        def forward(self, noisy, time):
            alpha_bar = alpha_bars[time]
            to_target = (noisy - alpha_bar.sqrt() * target) / (1 - alpha_bar).sqrt()
            bright = (noisy.mean(dim=(1, 2, 3), keepdim=True) > 0.4).float()
            return type("Output", (), {"sample": bright * to_target})

    pipeline.unet = Backdoored()
    noises = torch.randn(6, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    noises[:3] = noises[:3] + 1.0
    alike = likeness(pipeline, noises, share=0.5, copies=3, steps=4)
    assert alike.shape == (6,)
    assert alike[:3].min() > alike[3:].max()
