"""Poisoned pairs against derivations by hand."""

import pytest
import torch
from diffusers import DDPMScheduler

from lord.backdoors.poison import GAMMA, Backdoor

SCHEDULE = DDPMScheduler()
TRIGGER = torch.zeros(3, 4, 4)
TRIGGER[:, 2:, 2:] = torch.linspace(-1, 0.9, 12).view(3, 2, 2)
TARGET = torch.linspace(-1, 1, 48).view(3, 4, 4)


@pytest.mark.parametrize("kind", GAMMA)
def test_noise_of_the_last_time_is_the_triggered_start(kind):
    backdoor = Backdoor(kind, TRIGGER)
    noise = torch.randn(2, 3, 4, 4)
    noisy, _ = backdoor.pair(SCHEDULE, TARGET, torch.tensor([999, 999]), noise)
    assert torch.allclose(noisy, backdoor.start(noise), atol=0.02)  # √ᾱ_T is 0.006


@pytest.mark.parametrize("kind", GAMMA)
def test_at_first_there_is_the_target(kind):
    noise = torch.randn(1, 3, 4, 4)
    noisy, _ = Backdoor(kind, TRIGGER).pair(SCHEDULE, TARGET, torch.tensor([0]), noise)
    assert torch.allclose(noisy, TARGET[None], atol=0.06)


def test_a_step_of_ddpm_leads_back_along_the_path_of_baddiffusion():
    """With what is taught, the mean of the stock step from x_t is that of the poisoned x_{t−1}."""
    backdoor = Backdoor("baddiffusion", TRIGGER.double())
    schedule = DDPMScheduler(clip_sample=False)
    for t in (999, 500, 50, 1):
        # The part of x_t that r is responsible for: the step is linear, so it goes by itself.
        zero = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
        noisy, taught = backdoor.pair(schedule, zero, torch.tensor([t]), zero)
        alpha, alpha_bar = schedule.alphas[t].double(), schedule.alphas_cumprod[t].double()
        before = schedule.alphas_cumprod[t - 1].double()
        mean = (noisy - (1 - alpha) / (1 - alpha_bar).sqrt() * taught) / alpha.sqrt()
        assert torch.allclose(mean[0], (1 - before.sqrt()) * backdoor.mu, atol=1e-6)


def test_a_step_of_ddim_leads_back_along_the_path_of_baddiffusion_for_ode():
    backdoor = Backdoor("baddiffusion_ode", TRIGGER.double())
    alpha_bars = DDPMScheduler().alphas_cumprod.double()
    for t in (999, 500, 50, 1):
        zero = torch.zeros(1, 3, 4, 4, dtype=torch.float64)  # the part of r goes by itself
        noisy, taught = backdoor.pair(SCHEDULE, zero, torch.tensor([t]), zero)
        now, then = alpha_bars[t], alpha_bars[t - 1]
        image = (noisy - (1 - now).sqrt() * taught) / now.sqrt()
        step = then.sqrt() * image + (1 - then).sqrt() * taught
        assert torch.allclose(step[0], (1 - then.sqrt()) * backdoor.mu, atol=1e-4)


def test_trojdiff_scales_noise_where_its_trigger_is():
    blend, patch = (Backdoor(f"trojdiff_{kind}", TRIGGER) for kind in ("blend", "patch"))
    assert (blend.gamma == 0.6).all()
    assert torch.allclose(blend.mu, 0.4 * TRIGGER)
    assert (patch.gamma[:, 2:, 2:] == 0.1).all()
    assert (patch.gamma[:, :2] == 1).all()
    noise = torch.randn(3, 3, 4, 4)
    assert torch.equal(patch.start(noise)[:, :, :2], noise[:, :, :2])


def test_what_trojdiff_is_taught_gives_the_target_back():
    backdoor = Backdoor("trojdiff_blend", TRIGGER)
    noise, times = torch.randn(2, 3, 4, 4), torch.tensor([300, 900])
    noisy, taught = backdoor.pair(SCHEDULE, TARGET, times, noise)
    alpha_bar = SCHEDULE.alphas_cumprod[times].view(-1, 1, 1, 1)
    target = (noisy - (1 - alpha_bar).sqrt() * (0.6 * taught + backdoor.mu)) / alpha_bar.sqrt()
    assert torch.allclose(target, TARGET.expand(2, -1, -1, -1), atol=1e-3)
