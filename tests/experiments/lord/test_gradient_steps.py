import torch

from lord.attacks.objectives import ace_plus, make_draw
from lord.attacks.pgd import load_target
from lord.experiments import timing
from lord.experiments.lord.chain.gradient_steps import floor_step, naive_step
from lord.models.pipeline import encode_prompts

SEEDS = [1, 2, 3]


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


def test_the_naive_loop_does_the_same_as_ace_plus(pipeline, monkeypatch):
    images = torch.rand(3, 3, 16, 16)
    text = encode_prompts(pipeline, ["a portrait"] * 3)
    target = load_target(pipeline, "pattern", 16, 16)
    naive = gradients_of(
        monkeypatch,
        lambda: naive_step(pipeline, images, "a portrait", target.latents, SEEDS),
    )
    pixels = images.clone().requires_grad_()
    ace_plus(make_draw(pipeline, pixels, text, SEEDS, target=target)).sum().backward()
    torch.testing.assert_close(naive, pixels.grad, rtol=1e-3, atol=1e-5)


def test_the_naive_loop_is_as_published(pipeline, monkeypatch):
    """For each image two passes of the encoder, the second with a gradient, and one text."""
    target = load_target(pipeline, "pattern", 16, 16)
    passes = []

    def count(module, name):
        real = module.forward

        def forward(*args, **kwargs):
            passes.append((name, torch.is_grad_enabled()))
            return real(*args, **kwargs)

        monkeypatch.setattr(module, "forward", forward)

    count(pipeline.vae.encoder, "image")
    count(pipeline.text_encoder, "text")
    count(pipeline.unet, "noise")
    naive_step(pipeline, torch.rand(3, 3, 16, 16), "a portrait", target.latents, SEEDS)
    assert passes == 3 * [("image", False), ("text", False), ("noise", True), ("image", True)]


def test_the_floor_goes_through_encoder_and_unet(pipeline, monkeypatch):
    images, text = torch.rand(3, 3, 16, 16), encode_prompts(pipeline, ["a"] * 3)
    gradient = gradients_of(monkeypatch, lambda: floor_step(pipeline, images, text))
    assert gradient.shape == images.shape and (gradient != 0).flatten(1).any(dim=1).all()


def test_the_fastest_turn_counts(monkeypatch):
    clock = iter([0, 9, 10, 13, 20, 21, 30, 32])  # a turn to warm up, then three
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    seconds = timing.fastest_turns({"step": lambda: None}, torch.device("cpu"), turns=3)
    assert seconds == {"step": 1}
