"""What a gradient step of every attack costs, beside the least it could and the published loop."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from lord.attacks.objectives import ENCODER_WEIGHT, OBJECTIVES
from lord.attacks.pgd import frozen, load_target, objective_values, pgd_step
from lord.attacks.settings import PATTERN
from lord.data.subjects import Subject
from lord.models.diffusion import noised, predict, training_schedule
from lord.models.pipeline import encode_images, encode_prompts
from lord.study.bench import Bench, Outcome

BATCH = 16
TURNS = 5


def measure_performance(bench: Bench) -> Outcome:
    """Seconds of one gradient step for 16 images, everything side by side in one run.

    The floor is one pass forward and backward through encoder and U-Net. What is called naive is
    the loop in the public code of ACE+.
    """
    pipeline, profile = bench.pipeline, bench.profile
    subject = Subject(profile.domains[0], "evaluation", profile.subjects[0])
    images = subject.photographs(BATCH, profile.size).images.to(pipeline.device)
    text = encode_prompts(pipeline, [subject.prompt] * BATCH)
    target = load_target(pipeline, PATTERN, profile.size, profile.size)
    seeds = list(range(BATCH))

    def attack_step(method: str) -> None:
        settings = profile.attack_of(method)
        loss = partial(
            objective_values,
            pipeline,
            text=text,
            settings=settings,
            target=target,
            seeds=seeds,
        )
        pgd_step([loss], images, images, settings.eps, settings.step_size)

    steps = {
        "floor": partial(floor_step, bench, images, text),
        "naive": partial(naive_step, bench, images, subject.prompt, target.latents, seeds),
    } | {method: partial(attack_step, method) for method in OBJECTIVES}
    with frozen(pipeline.vae, pipeline.unet):
        seconds = fastest_turns(steps, pipeline.device)
    metrics = {}
    for name, value in seconds.items():
        metrics[f"{name}/seconds_per_image"] = value / BATCH
        metrics[f"{name}/times_the_floor"] = value / seconds["floor"]
    metrics["ace_plus/faster_than_naive"] = seconds["naive"] / seconds["ace_plus"]
    return Outcome(metrics)


def floor_step(bench: Bench, images: Tensor, text: Tensor) -> None:
    """One encoder and one U-Net, forward and backward, and nothing else."""
    pixels = images.clone().requires_grad_()
    latents = encode_images(bench.pipeline, pixels)
    times = torch.full((len(images),), 500, device=images.device)
    prediction = predict(bench.pipeline.unet, latents, times, text)
    torch.autograd.grad(prediction.square().sum(), pixels)


def naive_step(bench: Bench, images: Tensor, prompt: str, target: Tensor, seeds: list[int]) -> None:
    """The loop of mist-v2 for ACE+: image by image, with its prompt encoded anew each time.

    To save memory it encodes twice: without a gradient for the loss, which goes back to the latent
    alone, and once more to take the gradient on to the pixels. Not timed is that the encoder is
    checkpointed there, which costs a third pass.
    """
    pipeline = bench.pipeline
    schedule = training_schedule(pipeline)
    for row, seed in enumerate(seeds):
        pixels = images[row : row + 1].clone().requires_grad_()
        with torch.no_grad():
            latents = encode_images(pipeline, pixels).float()
        latents.requires_grad_()
        noisy, times, _ = noised(schedule, latents, [seed])
        prediction = predict(pipeline.unet, noisy, times, encode_prompts(pipeline, [prompt]))
        loss = -(prediction - target).square().mean()
        loss -= ENCODER_WEIGHT * (latents - target).square().mean()
        (gradient,) = torch.autograd.grad(loss, latents)
        torch.autograd.grad(encode_images(pipeline, pixels).float(), pixels, gradient)


def fastest_turns(
    steps: Mapping[str, Callable[[], None]], device: torch.device
) -> dict[str, float]:
    """Seconds of the fastest of several turns of each.

    They take turns, so that a slow moment of the machine does not hit one alone; the first turn
    warms up and does not count.
    """
    seconds = dict.fromkeys(steps, float("inf"))
    for turn in range(TURNS + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds
