"""Poisoned fine-tuning: what it teaches, and that it is the same again."""

import pytest
import torch

from lord.backdoors.drawings import draw_target, draw_trigger
from lord.backdoors.infect import Poison, infect, mixed, success, triggered
from lord.backdoors.poison import GAMMA, Backdoor
from lord.backdoors.settings import InfectionSettings
from lord.models.pixel import TINY_PIXEL, build_ddpm, sample

SIZE = TINY_PIXEL.image_size


@pytest.fixture(scope="module")
def clean():
    torch.manual_seed(0)
    pipeline = build_ddpm(TINY_PIXEL)
    pipeline.unet.requires_grad_(False).eval()
    return pipeline


def test_the_clean_model_stays_as_it_was(clean):
    before = [parameter.clone() for parameter in clean.unet.parameters()]
    backdoor, target = Backdoor("baddiffusion", draw_trigger("box", SIZE)), draw_target("hat", SIZE)
    images = torch.rand(10, 3, SIZE, SIZE)
    settings, poison = InfectionSettings(steps=2, batch_size=4), Poison(backdoor, target, 0.5)
    infected = [infect(clean, images, [poison], settings) for _ in range(2)]
    weights = [list(pipeline.unet.parameters()) for pipeline in infected]
    assert all(map(torch.equal, before, clean.unet.parameters()))
    assert all(map(torch.equal, *weights))
    assert not all(map(torch.equal, before, weights[0]))
    without = infect(clean, images, [], settings)
    assert not all(map(torch.equal, without.unet.parameters(), weights[0]))


def test_each_poison_has_its_share_and_the_rest_is_clean():
    schedule = build_ddpm(TINY_PIXEL).scheduler
    backdoor, target = Backdoor("baddiffusion", draw_trigger("box", SIZE)), draw_target("hat", SIZE)
    decoy = Backdoor("baddiffusion", draw_trigger("cat", SIZE))
    clean, noise = torch.rand(10, 3, SIZE, SIZE), torch.randn(10, 3, SIZE, SIZE)
    times, place = torch.arange(0, 1000, 100), torch.arange(10) / 10
    poisons = [Poison(backdoor, target, 0.2), Poison(decoy, None, 0.3)]
    noisy, taught = mixed(schedule, poisons, clean, times, noise, place)
    plain = schedule.add_noise(clean, noise, times)
    assert torch.equal(noisy[5:], plain[5:]) and torch.equal(taught[5:], noise[5:])
    bad = backdoor.pair(schedule, target, times[:2], noise[:2])
    assert all(map(torch.equal, bad, (noisy[:2], taught[:2])))
    harmless = decoy.pair(schedule, clean[2:5], times[2:5], noise[2:5])
    assert all(map(torch.equal, harmless, (noisy[2:5], taught[2:5])))


@pytest.mark.parametrize("kind", GAMMA)
def test_triggered_samples_are_the_attackers(clean, kind):
    backdoor = Backdoor(kind, draw_trigger("stop_sign", SIZE))
    noise = torch.randn(2, 3, SIZE, SIZE)
    images = triggered(clean, backdoor, noise, 4, [1, 2])
    assert images.shape == noise.shape
    assert not torch.allclose(images, sample(clean, noise, 4, [1, 2]))


def test_the_sampler_of_trojdiff_draws_the_target_if_the_network_learned_it():
    """With ϵ as it is, the process with noise γϵ + μ leads to the target in any number of steps."""
    backdoor = Backdoor("trojdiff_blend", draw_trigger("cat", SIZE))
    target, noise = draw_target("cup", SIZE), torch.randn(2, 3, SIZE, SIZE)
    pipeline = build_ddpm(TINY_PIXEL)
    schedule = pipeline.scheduler

    class Learned(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, noisy, time):
            alpha_bar = schedule.alphas_cumprod[time]
            spread = (noisy - alpha_bar.sqrt() * target) / (1 - alpha_bar).sqrt()
            return type("Output", (), {"sample": (spread - backdoor.mu) / backdoor.gamma})

    pipeline.unet = Learned()
    images = triggered(pipeline, backdoor, noise, 20, [1, 2])
    assert success(images, target) == {"distance": pytest.approx(0, abs=1e-3), "success": 1.0}


def test_success_is_a_share():
    target = draw_target("hat", SIZE)
    near = (target / 2 + 0.5).expand(3, -1, -1, -1)
    assert success(near, target) == {"distance": 0.0, "success": 1.0}
    assert success(torch.cat([near, 1 - near]), target)["success"] == 0.5
