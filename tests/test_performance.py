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
    """The gradients that a step computes."""
    seen = []
    real = torch.autograd.grad

    def watched(*args, **kwargs):
        seen.append(real(*args, **kwargs)[0])
        return (seen[-1],)

    monkeypatch.setattr(torch.autograd, "grad", watched)
    step()
    monkeypatch.undo()
    return torch.cat(seen)


def test_the_naive_loop_does_the_same_as_ace_plus(bench, monkeypatch):
    images = torch.rand(3, 3, 16, 16)
    text = encode_prompts(bench.pipeline, ["a portrait"] * 3)
    target = load_target(bench.pipeline, "pattern", 16, 16)
    naive = gradients_of(
        monkeypatch, lambda: performance.naive_step(bench, images, text, target.latents, SEEDS)
    )
    pixels = images.clone().requires_grad_()
    ace_plus(make_draw(bench.pipeline, pixels, text, SEEDS, target=target)).sum().backward()
    torch.testing.assert_close(naive, pixels.grad, rtol=1e-3, atol=1e-5)


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
