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
from lord.model.diffusion import check_predicts_noise
from lord.model.pipeline import check_captions, check_images, encode_prompts
from lord.objectives import TARGETED
from lord.progress import track
from lord.purification import diffpure
from lord.seeding import derive_seed

# `diffpure` computes no gradients, which nobody but an attacker needs.
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
    step is affordable (Lee and Kim, arXiv:2303.09051, call that a surrogate process), with fresh
    noise in every draw, as the attacker does not know the defender's. The gradient goes through P
    exactly. All images are attacked in one batch.

    Raises:
        ValueError: images, prompts or seeds that do not fit, or an attack with a surrogate model,
            transformations or a shrinking step, which this one has not.
    """
    check_predicts_noise(pipeline)
    check_images(images)
    check_captions(prompts, images)
    if len(seeds) != len(images):
        raise ValueError(f"seeds: expected one per image, for {len(images)} images")
    if settings.surrogate != "none" or settings.transformations or settings.step_decay:
        raise ValueError("surrogate, transformations, step_decay: expected none of these")
    height, width = images.shape[2:]
    original = images.detach().float()
    attacked = start(original, settings, seeds)
    text = encode_prompts(pipeline, prompts)
    with frozen(pipeline.vae, pipeline.unet):
        target = None
        if settings.method in TARGETED:
            target = load_target(pipeline, settings.target, *pad(pipeline, original).shape[2:])
        for step in track(range(settings.steps), f"{settings.method} through DiffPure"):

            def loss(pixels: Tensor, draw: int, step: int = step) -> Tensor:
                fresh = [derive_seed("attack", seed, 0, step, draw) for seed in seeds]
                seen = PURIFY(
                    pipeline, pad(pipeline, pixels), prompts, fresh, steps=denoising_steps
                )
                seen = seen[..., :height, :width]
                return objective_values(pipeline, seen, text, settings, target, fresh)

            attacked = pgd_step(
                [partial(loss, draw=draw) for draw in range(settings.draws)],
                attacked,
                original,
                settings.eps,
                settings.step_size,
                settings.norm,
            )
    return quantise(attacked, original, settings.eps, settings.norm)
