"""The rival detector, on a network whose answer is known."""

import pytest
import torch

from lord.backdoors.elijah import shift, spread, total_variation
from lord.backdoors.settings import ElijahSettings
from lord.models.pixel import TINY_PIXEL, build_ddpm

SIZE = TINY_PIXEL.image_size


def test_the_shift_of_a_network_that_keeps_one_shift_is_found():
    """It answers ϵ + τ with ϵ + k (τ₀ + (τ − τ₀)/4): only at τ₀ the shift is kept."""
    pipeline, true = build_ddpm(TINY_PIXEL), torch.rand(3, SIZE, SIZE)
    schedule = pipeline.scheduler
    kept = (1 - schedule.alphas_cumprod[-1]).sqrt() / (1 + schedule.alphas[-1].sqrt())

    class Backdoored(torch.nn.Module):
        device, config = torch.device("cpu"), pipeline.unet.config

        def forward(self, noisy, times):
            return type("Output", (), {"sample": kept * (true + (noisy - true) / 4)})

    pipeline.unet = Backdoored()
    found = shift(pipeline, ElijahSettings(noises=400, steps=200, learning_rate=0.02))
    assert (found - true).abs().mean() < 0.1


def test_likeness_and_smoothness():
    same = torch.rand(1, 3, SIZE, SIZE).expand(4, -1, -1, -1)
    assert spread(same) == pytest.approx(0, abs=1e-6)
    images = torch.stack([torch.zeros(3, SIZE, SIZE), torch.full((3, SIZE, SIZE), 0.5)])
    assert spread(images) == pytest.approx(0.5)
    assert total_variation(images) == 0
    stripes = torch.zeros(1, 3, SIZE, SIZE)
    stripes[..., ::2] = 1
    assert total_variation(stripes) == 0.5
