"""Objectives against formulas and differences written out."""

import pytest
import torch
from diffusers import DDPMScheduler
from helpers import PROMPTS, SEEDS, noise_images, quick_attack, random_signs

from lord import seeding
from lord.attacks import pgd, simac
from lord.attacks.objectives import OBJECTIVES, advdm, make_draw
from lord.attacks.pgd import load_target, objective_values
from lord.data.pattern import target_pattern
from lord.models.pipeline import encode_prompts


@pytest.fixture(autouse=True)
def few_tries(monkeypatch):
    """SimAC compares few times, where nobody looks at which it finds."""
    monkeypatch.setattr(simac, "TRIES", 2)


@pytest.fixture(scope="module")
def images():
    return noise_images()


@pytest.mark.parametrize("method", [name for name in OBJECTIVES if not name.startswith("sds")])
def test_steps_raise_the_objective_beyond_noise(pipeline, images, method):
    text = encode_prompts(pipeline, PROMPTS)
    target = load_target(pipeline, "pattern", 16, 16)

    def values(candidates):
        return objective_values(pipeline, candidates, text, quick_attack(method), target, SEEDS)

    attacked = images
    for _ in range(5):
        attacked = pgd.pgd_step([values], attacked, images, 8 / 255, 2 / 255)
    noisy = (images + 8 / 255 * random_signs(images)).clamp(0, 1)
    before, after, control = values(images), values(attacked), values(noisy)
    assert (after > before).all()
    assert (after > control).all()


@pytest.mark.parametrize("method", OBJECTIVES)
def test_objective_agrees_with_a_reference(pipeline, images, method):
    text = encode_prompts(pipeline, PROMPTS)
    target = load_target(pipeline, "pattern", 16, 16)
    settings = quick_attack(method, transformations=())
    values = objective_values(pipeline, images, text, settings, target, SEEDS)

    scale = pipeline.vae.config.scaling_factor
    alphas = DDPMScheduler.from_config(pipeline.scheduler.config).alphas_cumprod
    z_target = pipeline.vae.encode(target_pattern(16)[None] * 2 - 1).latent_dist.mode() * scale
    for index, seed in enumerate(SEEDS):
        z = pipeline.vae.encode(images[index : index + 1] * 2 - 1).latent_dist.mode() * scale
        t = seeding.timesteps([seeding.derive_seed(seed, "timestep")], 0, len(alphas))
        eps = seeding.noise([seeding.derive_seed(seed, "noise")], z.shape[1:])
        z_t = alphas[t] ** 0.5 * z + (1 - alphas[t]) ** 0.5 * eps
        prediction = pipeline.unet(z_t, t, text.text[index : index + 1]).sample
        fit, reach = ((prediction - eps) ** 2).mean(), -((prediction - z_target) ** 2).mean()
        expected = {
            "advdm": fit,
            "fsmg": fit,
            "aspl": fit,
            "simac": fit,
            "metacloak": fit,
            "encoder": -((z - z_target) ** 2).mean(),
            "diffusion": -(_edited(pipeline, z, eps, text.text[index]) - target_pattern(16)).norm(),
            "mist": 1e4 * fit - ((z - z_target) ** 2).sum(),
            "sds_minus": -((prediction - eps) * z).mean(),
            "sds_plus": ((prediction - eps) * z).mean(),
            "ace": reach,
            "ace_plus": reach - 100 * ((z - z_target) ** 2).mean(),
            "mist_v2_fused": 100 * ((z - z_target) ** 2).mean() - (prediction * eps).sum(),
        }[method]
        assert values[index].item() == pytest.approx(expected.item(), rel=1e-4)


def _edited(pipeline, z, eps, text):
    """SDEdit at 0.7 in four DDIM steps with guidance 7.5, the formula written out."""
    alphas = pipeline.scheduler.alphas_cumprod
    times, stride, empty = [699, 524, 349, 174], 175, encode_prompts(pipeline, [""]).text
    x = alphas[times[0]] ** 0.5 * z + (1 - alphas[times[0]]) ** 0.5 * eps
    for t in times:
        without = pipeline.unet(x, t, empty).sample
        e = without + 7.5 * (pipeline.unet(x, t, text[None]).sample - without)
        clean = (x - (1 - alphas[t]) ** 0.5 * e) / alphas[t] ** 0.5
        before = alphas[t - stride] if t >= stride else alphas[0]
        x = before**0.5 * clean + (1 - before) ** 0.5 * e
    return (pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample / 2 + 0.5).clamp(
        0, 1
    )


def test_the_fused_mode_moves_as_its_public_code_does(double_pipeline, images):
    """Its loss, term by term, down to the latents and from there through the encoder."""
    pipeline = double_pipeline
    text = encode_prompts(pipeline, PROMPTS)
    target = load_target(pipeline, "pattern", 16, 16)
    candidates = images.double().requires_grad_()
    seen = make_draw(pipeline, candidates, text, SEEDS)
    for index in range(len(SEEDS)):
        row = slice(index, index + 1)
        latents = seen.latents[row].detach().requires_grad_()
        alpha = pipeline.scheduler.alphas_cumprod[seen.times[row]].double()
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * seen.noise[row]
        prediction = pipeline.unet(noisy, seen.times[row], text.text[row]).sample
        loss = -torch.sum(prediction * seen.noise[row])
        latent_attack = -torch.nn.functional.mse_loss(latents, target.latents)
        loss = loss - 1e2 * latent_attack
        (gradient,) = torch.autograd.grad(loss, latents)
        (expected,) = torch.autograd.grad(
            seen.latents[row], candidates, gradient, retain_graph=True
        )
        settings = quick_attack("mist_v2_fused")
        value = objective_values(pipeline, candidates[row], text[row], settings, target, SEEDS[row])
        (found,) = torch.autograd.grad(value.sum(), candidates)
        torch.testing.assert_close(found[row], expected[row], rtol=1e-5, atol=1e-7)


def test_score_distillation_moves_along_the_encoder_alone(double_pipeline, images):
    """The gradient of SDS is the residual, propagated through the encoder and nothing else."""
    pipeline = double_pipeline
    text = encode_prompts(pipeline, PROMPTS)
    candidates = images.double().requires_grad_()
    (found,) = torch.autograd.grad(
        objective_values(pipeline, candidates, text, quick_attack("sds_minus"), None, SEEDS).sum(),
        candidates,
    )
    seen = make_draw(pipeline, candidates, text, SEEDS)
    residual = (seen.prediction - seen.noise).detach()
    (expected,) = torch.autograd.grad(seen.latents, candidates, -residual / residual[0].numel())
    torch.testing.assert_close(found, expected)


def test_denoising_loss_is_the_mean_objective_of_advdm(pipeline, images):
    losses = pgd.denoising_loss(pipeline, images, PROMPTS, draws=2, batch_size=2)
    text = encode_prompts(pipeline, PROMPTS)
    expected = [
        advdm(make_draw(pipeline, images, text, [seed] * 3))
        for seed in (seeding.derive_seed("denoising loss", draw) for draw in range(2))
    ]
    torch.testing.assert_close(losses, torch.stack(expected).mean(dim=0))


@pytest.mark.parametrize("method", [name for name in OBJECTIVES if not name.startswith("sds")])
def test_gradient_agrees_with_finite_differences(double_pipeline, images, method):
    pipeline = double_pipeline
    text = encode_prompts(pipeline, PROMPTS[:2])
    target = load_target(pipeline, "pattern", 16, 16)
    images, settings = images[:2].double(), quick_attack(method)

    def value(candidates):
        return objective_values(pipeline, candidates, text, settings, target, SEEDS[:2]).sum()

    candidates = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(candidates), candidates)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        direction = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            slope = (value(images + 1e-5 * direction) - value(images - 1e-5 * direction)) / 2e-5
        assert slope.item() == pytest.approx((gradient * direction).sum().item(), rel=1e-5)
