"""SimAC: anti-customisation where it tells, at chosen timesteps and in the features of the model.

Wang et al., arXiv:2312.07865. ASPL draws its timesteps from the whole schedule; at many of them the
gradient in the pixels is weak. SimAC first finds out, for each image, where it is not
(`informative_times`), and draws from what is left. Beside the denoising loss it raises the distance
of the features of the attacked image from those of the clean one, in the last block on the way up
(`simac_values`). In the public code that term is added as a detached number, so that its gradient
is zero; here it is what the paper says.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from lord.attacks.ball import project, uphill
from lord.attacks.objectives import Draw, Target, advdm, make_draw
from lord.attacks.settings import AttackSettings
from lord.attacks.transformations import transform
from lord.models.conditioning import Conditioning
from lord.models.diffusion import Pipeline, training_schedule
from lord.models.pipeline import pad
from lord.seeding import derive_seed, timesteps

TRIES, CANDIDATES = 50, 5
"""How often times are compared, and how many at a time."""

NEIGHBOURS, ENOUGH = 1 / 50, 1 / 10
"""Shares of the schedule: what goes on each side of the weakest time, and what may be left."""

FEATURE_WEIGHT = 1.0


def informative_times(
    pipeline: Pipeline,
    images: Tensor,
    text: Conditioning,
    settings: AttackSettings,
    seeds: Sequence[int],
) -> Tensor:
    """For each image the timesteps at which its pixels matter, shape (N, T), true where they do.

    Up to 50 times, five of the times left are compared by ‖∇ₓ‖ε_θ(z_t) − ϵ‖²‖₁. The weakest goes
    with its neighbours, and a step is made up the strongest gradient, until a tenth of the schedule
    is left. The steps are forgotten.

    Args:
        images: shape (N, 3, H, W) in [0, 1].
        text: of the prompts, one row per image.
        seeds: one per image.
    """
    steps = training_schedule(pipeline).config.num_train_timesteps
    numbers = torch.arange(steps)
    left, seen = torch.ones(len(images), steps, dtype=torch.bool), images.clone()
    for attempt in range(TRIES):
        unfinished = left.sum(1) > ENOUGH * steps
        if not unfinished.any():
            break
        times, gradients = [], []
        for number in range(CANDIDATES):
            own = [derive_seed(seed, "simac", attempt, number) for seed in seeds]
            times.append(times_among(left, own))
            pixels = seen.detach().clone().requires_grad_()
            value = advdm(draw_at(pipeline, pixels, text, settings, own, times[-1])).sum()
            gradients.append(torch.autograd.grad(value, pixels)[0])
        strength = torch.stack([g.abs().sum(dim=(1, 2, 3)) for g in gradients]).cpu()
        rows = torch.arange(len(images))
        weakest = torch.stack(times)[strength.argmin(0), rows]
        near = (numbers - weakest[:, None]).abs() <= NEIGHBOURS * steps
        left &= ~(near & unfinished[:, None])
        best = torch.stack(gradients)[strength.argmax(0), rows]
        moved = seen + settings.step_size * uphill(best, settings.norm)
        moved = project(moved, images, settings.eps, settings.norm)
        seen = torch.where(unfinished.view(-1, 1, 1, 1).to(seen.device), moved, seen)
    return left


def times_among(left: Tensor, seeds: Sequence[int]) -> Tensor:
    """A timestep for each row, shape (N,), of those that are true in it, by its seed."""
    rows = []
    for allowed, seed in zip(left, seeds, strict=True):
        open_times = allowed.nonzero().flatten()
        place = timesteps([derive_seed(seed, "timestep")], 0, len(open_times))
        rows.append(open_times[place])
    return torch.cat(rows)


def draw_at(
    pipeline: Pipeline,
    images: Tensor,
    text: Conditioning,
    settings: AttackSettings,
    seeds: Sequence[int],
    times: Tensor,
    unet: UNet2DConditionModel | None = None,
) -> Draw:
    """Images (N, 3, H, W) in [0, 1] encoded and noised at given times (N,), by one seed each."""
    seen = pad(pipeline, transform(images, settings.transformations, seeds))
    return make_draw(pipeline, seen, text, seeds, unet, times=times)


def simac_values(
    pipeline: Pipeline,
    images: Tensor,
    text: Conditioning,
    settings: AttackSettings,
    target: Target | None,
    seeds: Sequence[int],
    unet: UNet2DConditionModel | None = None,
    *,
    clean: Tensor,
    informative: Tensor,
) -> Tensor:
    """mean‖ε_θ(z_t) − ϵ‖² + mean‖f(z_t) − f(z_t of the clean image)‖² of each image, shape (N,).

    f are the features that the residual blocks of the last block of the U-Net add, before the skip;
    their mean squares are averaged over these. Both images get the same time and noise.

    Args:
        clean: the images before the attack, shape (N, 3, H, W).
        informative: from `informative_times`, shape (N, T).
    """
    unet = unet or pipeline.unet
    times = times_among(informative, seeds)
    with torch.no_grad(), _features(unet) as before:
        _ = draw_at(pipeline, clean, text, settings, seeds, times, unet).prediction
    with _features(unet) as after:
        fit = advdm(draw_at(pipeline, images, text, settings, seeds, times, unet))
    moved = [
        (own - other).square().mean(dim=(1, 2, 3)) for own, other in zip(after, before, strict=True)
    ]
    return fit + FEATURE_WEIGHT * torch.stack(moved).mean(0).to(fit.dtype)


@contextmanager
def _features(unet: UNet2DConditionModel) -> Iterator[list[Tensor]]:
    """What the last convolutions of the residual blocks of the last block give, in the block."""
    found: list[Tensor] = []
    hooks = [
        block.conv2.register_forward_hook(lambda module, args, output: found.append(output))
        for block in unet.up_blocks[-1].resnets
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
