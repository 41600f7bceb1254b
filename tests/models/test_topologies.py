"""What the supported topologies have in common, against the libraries' own code."""

import pytest
import torch
from diffusers import DDPMScheduler
from topologies import TOPOLOGIES, build

from lord.attacks.objectives import OBJECTIVES, make_draw
from lord.models.conditioning import Conditioning, concatenate
from lord.models.diffusion import (
    check_supported,
    noised,
    predict,
    training_schedule,
    training_target,
)
from lord.models.pipeline import encode_prompts, unconditional
from lord.models.sample import generate, sampling_schedule

PROMPTS = ["a portrait", "a landscape", "a portrait"]


@pytest.fixture(scope="module", params=TOPOLOGIES)
def pipeline(request):
    pipeline = build(request.param)
    for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        part.requires_grad_(False).eval()
    return pipeline


@pytest.fixture(scope="module")
def xl():
    return build("sdxl")


def test_samples_are_those_of_the_stock_pipeline(pipeline):
    """Embeddings, sizes, guidance and decoding are the library's."""
    prompts, seeds = PROMPTS[:2], [3, 4]
    ours = generate(pipeline, prompts, seeds, steps=2, guidance_scale=5.0, size=24)
    stock = pipeline.__class__.from_pipe(pipeline, scheduler=sampling_schedule(pipeline))
    stock.set_progress_bar_config(disable=True)
    theirs = stock(
        prompts,
        height=24,
        width=24,
        num_inference_steps=2,
        guidance_scale=5.0,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        output_type="pt",
    ).images
    assert ours.shape == (2, 3, 24, 24)
    torch.testing.assert_close(ours, theirs.float(), rtol=0, atol=1e-5)


def test_a_negative_prompt_is_what_guidance_leads_away_from(pipeline):
    plain, away, zero = (
        generate(pipeline, "a portrait", [3], steps=2, guidance_scale=g, negative_prompt=n)
        for g, n in ((5.0, ""), (5.0, "a landscape"), (1.0, "a landscape"))
    )
    without = generate(pipeline, "a portrait", [3], steps=2, guidance_scale=1.0)
    assert not torch.equal(plain, away) and torch.equal(zero, without)


def test_rows_of_conditioning_are_those_of_its_prompts(pipeline):
    whole = encode_prompts(pipeline, PROMPTS)
    assert len(whole) == 3
    single = encode_prompts(pipeline, PROMPTS[1:2])
    for made in (whole[1:2], whole[[1]], single.expand(2)[:1], concatenate([single, whole])[:1]):
        for one, other in zip(made.tensors, single.tensors, strict=True):
            torch.testing.assert_close(one, other)
    assert len(whole.repeat(2)) == 6
    assert torch.equal(whole.repeat(2).text[3:], whole.text)
    assert unconditional(pipeline, "a landscape").text.shape == single.text.shape


def test_sdxl_is_told_the_size_in_pixels(xl):
    given = encode_prompts(xl, PROMPTS)
    sizes = given.options(torch.zeros(3, 4, 8, 12))["added_cond_kwargs"]["time_ids"]
    assert sizes.tolist() == [[16, 24, 0, 0, 16, 24]] * 3
    noisy, times = torch.randn(1, 4, 8, 8), torch.tensor([500])
    other = Conditioning(given[:1].text, given[:1].pooled, scale=8)
    answers = [predict(xl.unet, noisy, times, one) for one in (given[:1], other)]
    assert (answers[0] - answers[1]).any()  # the size is heard
    assert not unconditional(xl).text.any() and not unconditional(xl).pooled.any()


def test_the_target_follows_what_the_model_predicts(pipeline):
    schedule = training_schedule(pipeline)
    latents = torch.randn(4, 4, 8, 8)
    noisy, times, epsilon = noised(schedule, latents, [1, 2, 3, 4])
    goal = training_target(schedule, latents, epsilon, times)
    alphas = DDPMScheduler.from_config(pipeline.scheduler.config).alphas_cumprod[times]
    signal, noise = (a.sqrt()[:, None, None, None] for a in (alphas, 1 - alphas))
    if pipeline.scheduler.config.prediction_type == "epsilon":
        assert goal is epsilon
    else:
        torch.testing.assert_close(goal, signal * epsilon - noise * latents)
        # The velocity and z_t together tell the noise and the picture.
        torch.testing.assert_close(signal * goal + noise * noisy, epsilon)
        torch.testing.assert_close(signal * noisy - noise * goal, latents)


@pytest.mark.parametrize("method", OBJECTIVES)
def test_every_objective_has_a_finite_gradient(pipeline, method):
    from lord.attacks.pgd import load_target

    pixels = torch.rand(2, 3, 16, 16).requires_grad_()
    target = load_target(pipeline, "pattern", 16, 16)
    draw = make_draw(pipeline, pixels, encode_prompts(pipeline, PROMPTS[:2]), [5, 6], target=target)
    values = OBJECTIVES[method](draw)
    (gradient,) = torch.autograd.grad(values.sum(), pixels)
    assert values.shape == (2,) and gradient.isfinite().all() and gradient.any()


def test_a_schedule_of_zero_snr_starts_from_noise_alone():
    model = build("sd1-zero-snr")
    schedule = sampling_schedule(model)
    schedule.set_timesteps(4)
    assert schedule.alphas_cumprod[schedule.timesteps[0]] == 0
    assert training_schedule(model).alphas_cumprod[-1] == 0


@pytest.mark.parametrize(
    ("topology", "part", "changes", "message"),
    [
        ("sd1", "scheduler", {"prediction_type": "sample"}, "predicts 'sample'; supported are"),
        ("sd1", "scheduler", {"rescale_betas_zero_snr": True}, "ends in noise alone"),
        ("sd1", "unet", {"in_channels": 9}, "takes 9 channels"),
        ("sd1", "unet", {"in_channels": 8}, "takes 8 channels"),
        ("sd1", "unet", {"time_cond_proj_dim": 16}, "latent consistency"),
        ("sdxl", "unet", {"addition_embed_type": "text"}, "addition_embed_type is 'text'"),
    ],
)
def test_what_is_not_supported_is_named(topology, part, changes, message):
    pipeline = build(topology)
    getattr(pipeline, part).register_to_config(**changes)
    with pytest.raises(ValueError, match=message):
        check_supported(pipeline)
