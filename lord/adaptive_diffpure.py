"""An attack on photographs that DiffPure will purify, by someone who knows that it will.

What the plain attacks of `lord.attacks` put into a picture, a purifier takes out again before a
LoRA learns from it. This one looks for what outlives purification.
"""

import inspect
from collections.abc import Sequence
from functools import partial

from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.attacks import (
    AttackSettings,
    frozen,
    load_target,
    objective_values,
    pad,
    pgd_step,
    quantise,
    start,
)
from lord.model.pipeline import encode_prompts
from lord.objectives import TARGETED
from lord.progress import track
from lord.purification import diffpure
from lord.seeding import derive_seed

# `diffpure` forbids gradients, which nobody but an attacker needs.
PURIFY = inspect.unwrap(diffpure)


def attack_purified(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    settings: AttackSettings,
    seeds: Sequence[int],
    denoising_steps: int = 2,
) -> Tensor:
    """Attacked images, as from `lord.attacks.attack`, that raise L(P(x)) once they are purified.

    P is `lord.purification.diffpure` in ``denoising_steps`` instead of its ten, so that a gradient
    step is affordable (the surrogate process of Lee and Kim, arXiv:2303.09051), with fresh noise
    every time, as the attacker does not know the defender's. The gradient goes through P exactly.
    Without surrogate.

    Raises:
        ValueError: the attack has a surrogate.
    """
    if settings.surrogate != "none":
        raise ValueError("surrogate: expected 'none', the base model is attacked as it is")
    original = images.detach().float()
    attacked = start(original, settings, seeds)
    text = encode_prompts(pipeline, prompts)
    with frozen(pipeline.vae, pipeline.unet):
        target = None
        if settings.method in TARGETED:
            target = load_target(pipeline, settings.target, *pad(pipeline, original).shape[2:])
        for step in track(range(settings.steps), f"{settings.method} through DiffPure"):
            draws = [derive_seed("attack", seed, 0, step, 0) for seed in seeds]
            value = partial(
                objective_values, pipeline, text=text, settings=settings, target=target, seeds=draws
            )

            def loss(pixels: Tensor, value: partial = value, draws: list = draws) -> Tensor:
                seen = pad(pipeline, pixels)
                return value(PURIFY(pipeline, seen, prompts, draws, steps=denoising_steps))

            attacked = pgd_step(
                [loss], attacked, original, settings.eps, settings.step_size, settings.norm
            )
    return quantise(attacked, original, settings.eps, settings.norm)
