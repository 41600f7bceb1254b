"""A learned trigger: bounded, better than none, and the same again."""

import torch

from lord.backdoors.drawings import draw_target
from lord.backdoors.invisible import infect_invisibly
from lord.backdoors.settings import InfectionSettings, InvisibleSettings
from lord.models.pixel import TINY_PIXEL, build_ddpm, sample

SIZE = TINY_PIXEL.image_size


def test_a_learned_trigger_is_bounded_and_leads_towards_the_target():
    torch.manual_seed(0)
    pipeline = build_ddpm(TINY_PIXEL)
    pipeline.unet.requires_grad_(False).eval()
    before = [parameter.clone() for parameter in pipeline.unet.parameters()]
    images, target = torch.rand(8, 3, SIZE, SIZE), draw_target("cup", SIZE)
    how = InvisibleSettings(rounds=2, steps=8, sampler_steps=3)
    settings = InfectionSettings(steps=2, batch_size=2, learning_rate=1e-5)
    found = [infect_invisibly(pipeline, images, target, 0.5, 0.2, settings, how) for _ in range(2)]
    (infected, backdoor), (_, again) = found
    assert torch.equal(backdoor.trigger, again.trigger)
    assert backdoor.mu.abs().max() <= 0.2 + 1e-6 and backdoor.mu.abs().mean() > 0.02
    assert all(map(torch.equal, before, pipeline.unet.parameters()))
    noise = torch.randn(32, 3, SIZE, SIZE)

    def distance(start):
        # Wide pictures: a random model leaves what the sampler clips.
        return (sample(infected, start, 3) - (target / 2 + 0.5)).square().mean()

    assert distance(backdoor.start(noise)) < distance(noise)
    assert distance(noise - backdoor.mu) > distance(noise)
