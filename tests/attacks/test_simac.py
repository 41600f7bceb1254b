"""SimAC against its written-out formula."""

import pytest
import torch
from helpers import PROMPTS, SEEDS, noise_images, quick_attack

from lord.attacks import simac
from lord.attacks.pgd import attack, frozen
from lord.attacks.simac import informative_times, simac_values, times_among
from lord.models.diffusion import training_schedule
from lord.models.pipeline import encode_prompts
from lord.seeding import derive_seed, noise

SETTINGS = quick_attack("simac", steps=2)


@pytest.fixture(scope="module")
def images():
    return noise_images()


@pytest.fixture
def text(pipeline):
    return encode_prompts(pipeline, PROMPTS)


@torch.no_grad()
def test_the_objective_is_the_loss_and_the_distance_of_features(pipeline, images, text):
    """By hand, image by image, with the residual blocks' own modules."""
    clean, informative = 1 - images, torch.zeros(3, 1000, dtype=torch.bool)
    informative[:, 200:300] = True
    found = simac_values(
        pipeline, images, text, SETTINGS, None, SEEDS, clean=clean, informative=informative
    )
    schedule, scale = training_schedule(pipeline), pipeline.vae.config.scaling_factor
    for row, seed in enumerate(SEEDS):
        t = times_among(informative[row : row + 1], [seed])
        assert 200 <= t < 300
        outputs, predictions = [], []
        blocks = pipeline.unet.up_blocks[-1].resnets
        for picture in (clean, images):
            z = pipeline.vae.encode(picture[row : row + 1] * 2 - 1).latent_dist.mode() * scale
            epsilon = noise([derive_seed(seed, "noise")], z.shape[1:])
            own = []
            hooks = [
                b.conv2.register_forward_hook(lambda m, a, o, s=own: s.append(o)) for b in blocks
            ]
            prediction = pipeline.unet(
                schedule.add_noise(z, epsilon, t), t, text.text[row : row + 1]
            ).sample
            for hook in hooks:
                hook.remove()
            outputs.append(own)
            predictions.append(prediction)
        fit = (predictions[1] - epsilon).square().mean()
        moved = [(a - b).square().mean() for a, b in zip(*outputs, strict=True)]
        assert len(moved) == len(blocks)
        assert found[row].item() == pytest.approx((fit + sum(moved) / len(moved)).item(), rel=1e-3)


def test_the_features_have_a_gradient(pipeline, images, text, monkeypatch):
    """In the public code they have none."""
    informative = torch.ones(3, 1000, dtype=torch.bool)

    def gradient(weight):
        monkeypatch.setattr(simac, "FEATURE_WEIGHT", weight)
        pixels = images.clone().requires_grad_()
        values = simac_values(
            pipeline, pixels, text, SETTINGS, None, SEEDS, clean=1 - images, informative=informative
        )
        return torch.autograd.grad(values.sum(), pixels)[0]

    with frozen(pipeline.vae, pipeline.unet):
        assert not torch.allclose(gradient(0.0), gradient(1.0), rtol=1e-3)


def test_weak_times_go_with_their_neighbours(pipeline, images, text, monkeypatch):
    """Where the gradient is made to grow with the timestep, the late ones are left."""

    class Loud:
        def __init__(self, values):
            self.values = values

    def draw_at(pipeline, pixels, text, settings, seeds, times, unet=None):
        return Loud(pixels.sum(dim=(1, 2, 3)) * times)

    monkeypatch.setattr(simac, "draw_at", draw_at)
    monkeypatch.setattr(simac, "advdm", lambda draw: draw.values)
    left = informative_times(pipeline, images, text, SETTINGS, SEEDS)
    assert left.shape == (3, 1000)
    assert (left.sum(1) <= 100).all() and (left.sum(1) > 100 - 42).all()
    assert (left.float() * torch.arange(1000)).sum(1).div(left.sum(1)).min() > 600
    alone = informative_times(pipeline, images[1:2], text[1:2], SETTINGS, SEEDS[1:2])
    assert torch.equal(alone[0], left[1]), "an image's times are those of its seed"


def test_times_are_drawn_from_what_is_left():
    left = torch.zeros(2, 1000, dtype=torch.bool)
    left[0, [3, 7]], left[1, 999] = True, True
    drawn = torch.stack([times_among(left, [seed, seed]) for seed in range(20)])
    assert set(drawn[:, 0].tolist()) == {3, 7} and set(drawn[:, 1].tolist()) == {999}


def test_the_attack_keeps_its_budget(pipeline, images, monkeypatch):
    monkeypatch.setattr(simac, "TRIES", 2)
    attacked = attack(pipeline, images, PROMPTS, SETTINGS, SEEDS)
    assert ((attacked - images).abs() <= 8 / 255 + 1e-6).all()
    assert not torch.equal(attacked, images)
    other = attack(pipeline, images, PROMPTS, quick_attack("aspl", steps=2), SEEDS)
    assert not torch.equal(attacked, other)
