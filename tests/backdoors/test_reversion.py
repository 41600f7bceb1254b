"""The reversed loss against an ideal denoiser, its gradients, and a trigger that is found."""

from types import SimpleNamespace

import pytest
import torch
from diffusers import DDPMScheduler
from torch import nn

from lord.backdoors.reversion import Reversed, ReversionSettings, reverse
from lord.models.pixel import TINY_PIXEL, build_ddpm

SCHEDULE = DDPMScheduler()
SHAPE = (3, 4, 4)


class Ideal(nn.Module):
    """E[ϵ | x_t] of data that are N(0, I) themselves: √(1−ᾱ_t) x_t."""

    def forward(self, noisy, times):
        spread = (1 - SCHEDULE.alphas_cumprod[times]).sqrt().view(-1, 1, 1, 1)
        return SimpleNamespace(sample=spread * noisy)


def test_the_loss_of_an_ideal_denoiser_is_what_it_cannot_know():
    """Of Gaussian data the residual is (1 − (1−ᾱ_t)) (ϵ₁ − ϵ₂) = ᾱ_t (ϵ₁ − ϵ₂): 0 at the end."""
    model = Reversed(Ideal(), SCHEDULE, torch.zeros(SHAPE), torch.tensor(1.0))
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(512, *SHAPE, generator=generator)
    noises = torch.randn(2, 512, *SHAPE, generator=generator)
    for t in (999, 500, 100):
        times = torch.full((512,), t)
        alpha_bar = SCHEDULE.alphas_cumprod[t].item()
        expected = 48 * alpha_bar**2  # ½ E‖ᾱ (ϵ₁ − ϵ₂)‖², with E‖ϵ₁ − ϵ₂‖² = 2 · 48
        assert model.loss(images, times, noises).item() == pytest.approx(expected, rel=0.03)


def test_whatever_is_common_to_both_noises_cancels():
    model = Reversed(Ideal(), SCHEDULE, torch.zeros(SHAPE), torch.tensor(1.0))
    moved = Reversed(Ideal(), SCHEDULE, torch.ones(SHAPE), torch.tensor(1.0))
    images, noises, times = torch.randn(4, *SHAPE), torch.randn(2, 4, *SHAPE), torch.full((4,), 700)
    assert torch.allclose(
        model.loss(images, times, noises), moved.loss(images + 3, times, noises), rtol=1e-4
    )


def test_gradients_through_the_sampler_are_those_of_finite_differences():
    torch.manual_seed(0)
    unet = build_ddpm(TINY_PIXEL).unet.double().requires_grad_(False)
    noise = torch.randn(1, 3, 8, 8, dtype=torch.float64)

    def sampled(mu):
        one = torch.ones((), dtype=torch.float64)
        return Reversed(unet, SCHEDULE, mu, one).sampled(noise, 3).sum()

    mu = torch.randn(3, 8, 8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(sampled(mu), mu)
    direction = torch.randn_like(mu)
    step = 1e-5 * direction
    numeric = (sampled(mu + step) - sampled(mu - step)) / 2e-5
    assert torch.allclose((gradient * direction).sum(), numeric, rtol=1e-6)


@pytest.mark.parametrize("estimated", [False, True])
def test_both_stages_move_the_trigger_and_are_the_same_again(estimated):
    torch.manual_seed(0)
    pipeline = build_ddpm(TINY_PIXEL)
    pipeline.unet.requires_grad_(False)
    settings = ReversionSettings(
        steps=3, refine_steps=2, batch_size=2, sampler_steps=2, window=2, estimate_gamma=estimated
    )
    first, second = reverse(pipeline, settings), reverse(pipeline, settings)
    assert torch.equal(first.mu, second.mu)
    assert [done for done, _ in first.path] == [2, 3, 5]
    assert len(first.losses) == 5
    assert not torch.equal(first.path[0][1], first.path[-1][1])
    assert first.gamma >= 0
    assert (first.gamma == 1) == (not estimated)


def test_a_stage_ends_when_the_trigger_stays():
    torch.manual_seed(0)
    pipeline = build_ddpm(TINY_PIXEL)
    pipeline.unet.requires_grad_(False)
    settings = ReversionSettings(
        steps=50, refine_steps=1, batch_size=1, sampler_steps=1, window=2, tolerance=1e9
    )
    assert [done for done, _ in reverse(pipeline, settings).path] == [2, 3]


def test_a_trigger_that_is_no_number_is_an_error():
    torch.manual_seed(0)
    settings = ReversionSettings(
        learning_rate=1e30, steps=2, refine_steps=1, batch_size=2, sampler_steps=2
    )
    with pytest.raises(FloatingPointError, match="not finite"):
        reverse(build_ddpm(TINY_PIXEL), settings)
