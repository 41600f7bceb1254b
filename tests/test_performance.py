from types import SimpleNamespace

import pytest
import torch

from lord.attacks.objectives import ace_plus, make_draw
from lord.attacks.pgd import load_target
from lord.models.embedded import TINY, build_pipeline
from lord.models.pipeline import encode_prompts
from lord.study.experiments import performance

SEEDS = [1, 2, 3]


@pytest.fixture
def bench():
    torch.manual_seed(0)
    pipeline = build_pipeline(TINY)
    for module in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        module.requires_grad_(False).eval()
    return SimpleNamespace(pipeline=pipeline)


def gradients_of(monkeypatch, step):
    """The gradients that a step computes of pictures."""
    seen = []
    real = torch.autograd.grad

    def watched(output, inputs, *args):
        (gradient,) = real(output, inputs, *args)
        if gradient.shape[1] == 3:
            seen.append(gradient)
        return (gradient,)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    step()
    monkeypatch.undo()
    return torch.cat(seen)


def test_the_naive_loop_does_the_same_as_ace_plus(bench, monkeypatch):
    images = torch.rand(3, 3, 16, 16)
    text = encode_prompts(bench.pipeline, ["a portrait"] * 3)
    target = load_target(bench.pipeline, "pattern", 16, 16)
    naive = gradients_of(
        monkeypatch,
        lambda: performance.naive_step(bench, images, "a portrait", target.latents, SEEDS),
    )
    pixels = images.clone().requires_grad_()
    ace_plus(make_draw(bench.pipeline, pixels, text, SEEDS, target=target)).sum().backward()
    torch.testing.assert_close(naive, pixels.grad, rtol=1e-3, atol=1e-5)


def test_the_naive_loop_is_as_published(bench, monkeypatch):
    """For each image two passes of the encoder, the second with a gradient, and one text."""
    target = load_target(bench.pipeline, "pattern", 16, 16)
    passes = []

    def count(module, name):
        real = module.forward

        def forward(*args, **kwargs):
            passes.append((name, torch.is_grad_enabled()))
            return real(*args, **kwargs)

        monkeypatch.setattr(module, "forward", forward)

    count(bench.pipeline.vae.encoder, "image")
    count(bench.pipeline.text_encoder, "text")
    count(bench.pipeline.unet, "noise")
    performance.naive_step(bench, torch.rand(3, 3, 16, 16), "a portrait", target.latents, SEEDS)
    assert passes == 3 * [("image", False), ("text", False), ("noise", True), ("image", True)]


def test_the_floor_goes_through_encoder_and_unet(bench, monkeypatch):
    images, text = torch.rand(3, 3, 16, 16), encode_prompts(bench.pipeline, ["a"] * 3)
    gradient = gradients_of(monkeypatch, lambda: performance.floor_step(bench, images, text))
    assert gradient.shape == images.shape and (gradient != 0).flatten(1).any(dim=1).all()


def test_the_fastest_turn_counts(monkeypatch):
    clock = iter([0, 9, 10, 13, 20, 21, 30, 32])  # a turn to warm up, then three
    monkeypatch.setattr(performance, "TURNS", 3)
    monkeypatch.setattr(performance.time, "perf_counter", lambda: next(clock))
    seconds = performance.fastest_turns({"step": lambda: None}, torch.device("cpu"))
    assert seconds == {"step": 1}
