"""Purifiers in pixels: the samplers they are made of, exact gradients, windows, guidance."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler

from lord.models.classifiers import build_classifier
from lord.models.pixel import TINY_PIXEL, answer_for, build_ddpm, training_schedule
from lord.purifiers import pixel_diffusion
from lord.purifiers.pixel_diffusion import kept_signal, purify_pixels, through_windows
from lord.purifiers.settings import PixelPurifier
from lord.seeding import derive_seed, noise

SEEDS = [5, 6]


@pytest.fixture(scope="module")
def pipeline():
    torch.manual_seed(0)
    found = build_ddpm(TINY_PIXEL)
    found.unet.requires_grad_(False).eval().double()
    return found


@pytest.fixture(scope="module")
def auxiliary():
    return build_classifier("residual", 8).double().requires_grad_(False)


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.rand((2, 3, 8, 8), generator=generator, dtype=torch.float64) * 0.8 + 0.1


def purified(pipeline, images, auxiliary=None, **settings):
    return purify_pixels(pipeline, images, SEEDS, PixelPurifier(**settings), auxiliary)


@pytest.mark.parametrize("method", ["diffpure_ode", "diffpure"])
def test_the_chain_is_that_of_the_library(pipeline, images, method):
    """DDIM without noise and, with it, every step of DDPM, from the same noises."""
    steps, own = 4, [derive_seed(seed, "round", 0) for seed in SEEDS]

    def drawn(*name):
        return noise([derive_seed(s, *name) for s in own], (3, 8, 8), dtype=torch.float64)

    kind = DDIMScheduler if method == "diffpure_ode" else DDPMScheduler
    schedule = kind.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    timestep = steps if method == "diffpure" else 40
    schedule.set_timesteps(round(steps * 1000 / timestep))
    times = schedule.timesteps[-steps:]
    x = schedule.add_noise(images * 2 - 1, drawn("purify"), times[:1])
    for k, time in enumerate(times):
        if method == "diffpure":
            # The library draws the noise of a step itself; it is put in its place.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    "diffusers.schedulers.scheduling_ddpm.randn_tensor",
                    lambda *_, k=k, **__: drawn("step", steps - k - 1),
                )
                x = schedule.step(pipeline.unet(x, time).sample, time, x).prev_sample
        else:
            x = schedule.step(pipeline.unet(x, time).sample, time, x).prev_sample
    found = purified(pipeline, images, method=method, timestep=timestep, steps=steps)
    torch.testing.assert_close(found, (x / 2 + 0.5).clamp(0, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["v_prediction", "sample"])
def test_networks_may_predict_something_else_than_the_noise(pipeline, images, kind, monkeypatch):
    """One that knows the same as another, and says it in its own way, purifies as that does."""
    noise_of = pipeline.unet.forward
    schedule = DDPMScheduler.from_config(pipeline.scheduler.config, prediction_type=kind)

    def forward(x, time):
        found = noise_of(x, time)
        found.sample = answer_for(schedule, found.sample, x, time)
        return found

    how = {"method": "diffpure", "timestep": 40, "steps": 4}
    expected = purified(pipeline, images, **how)
    monkeypatch.setattr(pipeline.unet, "forward", forward)
    other = purified(DDPMPipeline(pipeline.unet, schedule), images, **how)
    torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-5)


VARIANTS = [
    {"method": "diffpure", "steps": 3},
    {"method": "diffpure_ode", "steps": 2},
    {"method": "gdmp", "steps": 2, "rounds": 1},
    {"method": "gdmp", "steps": 2, "rounds": 1, "guided": "predicted"},
    {"method": "gridpure", "steps": 1, "rounds": 9},
    {"method": "robust", "steps": 2},
    {"method": "robust", "steps": 2, "guided": "predicted", "limit": None},
    {"method": "robust", "steps": 2, "limit": 1e-3, "schedule": "noise"},
    {"method": "robust", "steps": 2, "class_weight": 0},
]


@pytest.mark.parametrize("settings", VARIANTS, ids=lambda s: "-".join(map(str, s.values())))
def test_gradients_are_exact(pipeline, auxiliary, images, settings):
    generator = torch.Generator().manual_seed(1)
    weights, way = torch.randn((2, *images.shape), generator=generator, dtype=torch.float64)

    def value(x):
        return (purified(pipeline, x, auxiliary, **settings) * weights).sum()

    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(x), x)
    h = 1e-5
    with torch.no_grad():
        expected = (value(images + h * way) - value(images - h * way)) / (2 * h)
    assert (gradient * way).sum().item() == pytest.approx(expected.item(), rel=1e-5)


def test_activations_of_long_chains_are_computed_again(pipeline, images, monkeypatch):
    calls = []
    recompute = pixel_diffusion.checkpoint
    monkeypatch.setattr(
        pixel_diffusion, "checkpoint", lambda *a, **k: calls.append(1) or recompute(*a, **k)
    )
    found = []
    for kept in (100, 1):
        monkeypatch.setattr(pixel_diffusion, "KEPT_PASSES", kept)
        x = images.clone().requires_grad_()
        value = purified(pipeline, x, method="diffpure", steps=3).square().sum()
        found.append(torch.autograd.grad(value, x)[0])
    torch.testing.assert_close(*found)
    assert len(calls) == 3


def test_an_image_is_purified_by_its_own_seed(pipeline, auxiliary, images):
    settings = PixelPurifier(method="robust", steps=2)
    both = purify_pixels(pipeline, images, SEEDS, settings, auxiliary)
    alone = purify_pixels(pipeline, images[1:], SEEDS[1:], settings, auxiliary)
    torch.testing.assert_close(both[1:], alone)
    other = purify_pixels(pipeline, images, [7, 8], settings, auxiliary)
    assert not torch.allclose(both, other)


def test_guidance_to_pixels_leads_closer_to_the_picture(pipeline, images):
    def distance(**settings):
        return (purified(pipeline, images, steps=4, timestep=100, **settings) - images).norm()

    plain = distance(method="diffpure")
    near, nearer = (
        distance(method="gdmp", rounds=1, scale=scale, guided="predicted", limit=None)
        for scale in (2.0, 5.0)
    )
    assert nearer < near < plain


def test_robust_guidance_lowers_what_it_is_to_lower(pipeline, auxiliary, images):
    def features(x):
        return auxiliary.features(x)

    def distance(found):
        return (features(found) - features(images)).square().mean().item()

    how = {"timestep": 200, "steps": 4, "guided": "predicted", "limit": None}
    plain = purified(pipeline, images, method="diffpure", timestep=200, steps=4)
    guided = purified(
        pipeline, images, auxiliary, method="robust", scale=1e3, class_weight=0, **how
    )
    assert distance(guided) < distance(plain)


def test_a_constraint_cuts_guidance(pipeline, auxiliary, images):
    how = {"method": "robust", "steps": 2, "scale": 1e6}
    plain = purified(pipeline, images, method="diffpure", timestep=70, steps=2)
    held = purified(pipeline, images, auxiliary, **how, limit=1e-4)
    free = purified(pipeline, images, auxiliary, **how, limit=None)
    assert (held - plain).norm() < 1e-2 < (free - plain).norm()


def test_rounds_keep_a_share_of_what_they_started_from(pipeline, images):
    once = purified(pipeline, images, method="gridpure", steps=1, rounds=1, kept=0.0)
    kept = purified(pipeline, images, method="gridpure", steps=1, rounds=1, kept=0.25)
    torch.testing.assert_close(kept, 0.75 * once + 0.25 * images)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (20, 13), (5, 20), (3, 4), (9, 8)])
def test_windows_cover_a_picture_of_any_size(height, width):
    images = torch.rand(1, 3, height, width)
    torch.testing.assert_close(through_windows(images, (8, 8), [1], lambda w, _: w), images)


def test_one_window_more_is_made_of_the_corners():
    seen = []

    def look(window, seeds):
        seen.append((window, seeds))
        return window

    images = torch.rand(1, 3, 16, 16)
    through_windows(images, (8, 8), [1], look)
    assert len(seen) == 3 * 3 + 1 and len({seeds[0] for _, seeds in seen}) == 10
    corners = seen[-1][0]
    assert torch.equal(corners[..., :4, :4], images[..., :4, :4])
    assert torch.equal(corners[..., 4:, 4:], images[..., -4:, -4:])


def test_times_are_evenly_spaced(pipeline):
    assert PixelPurifier(timestep=100, steps=5).times == [100, 80, 60, 40, 20, 0]
    assert PixelPurifier(timestep=10, steps=4).times == [10, 8, 5, 2, 0]
    signal = kept_signal(training_schedule(pipeline))
    assert len(signal) == 1001 and signal[0] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "diffpure", "timestep": 3, "steps": 4}, "at most one for each of the 3 times"),
        ({"method": "robust", "class_weight": 0, "latent_weight": 0}, "without either"),
        ({"method": "robust", "steps": 2}, "needs an adversarially trained classifier"),
        ({"method": "diffpure", "timestep": 1001, "steps": 2}, "the schedule has 1000"),
    ],
)
def test_what_cannot_be_is_named(pipeline, images, settings, message):
    with pytest.raises(ValueError, match=message):
        purified(pipeline, images, **settings)
