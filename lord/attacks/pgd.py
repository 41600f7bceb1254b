"""Attacks that make images unlearnable: projected gradient ascent in pixel space.

Every attack here is the same loop (projected gradient descent, PGD; Madry et al., 2018,
arXiv:1706.06083) around its own objective (see `lord.attacks.objectives`). The loop raises the
objective inside a ball of radius ε around the original:

    x ← Π_{‖x − x₀‖ ≤ ε, x ∈ [0, 1]} ( x + α · sign ∇ₓ L(x) )

ε and the step α are in [0, 1] pixel units: ``8/255`` is eight grey levels of 255. (Most published
code perturbs in [-1, 1], where the same number means half as much.)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Literal

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from lord.attacks.ball import project, quantise, start, uphill
from lord.attacks.objectives import OBJECTIVES, Target, advdm, draw_of, make_draw
from lord.attacks.settings import COMPONENT, PATTERN, SIMAC, AttackSettings
from lord.attacks.simac import informative_times, simac_values
from lord.attacks.surrogates import victims
from lord.attacks.transformations import transform
from lord.data.pattern import target_pattern
from lord.data.picture import read_image
from lord.models.conditioning import Conditioning
from lord.models.diffusion import Pipeline, check_supported
from lord.models.memory import BATCH
from lord.models.pipeline import check_images, encode_images, encode_prompts, pad
from lord.names import TARGETED
from lord.progress import track
from lord.seeding import derive_seed

GRADIENT_SCALES = (2.0**14, 2.0**7, 1.0, 2.0**-7)


def load_target(pipeline: Pipeline, target: str, height: int, width: int) -> Target:
    """The target of an attack at a size, in pixels and as latents.

    Raises:
        FileNotFoundError, ValueError: ``target`` is neither ``"pattern"`` nor a readable image.
    """
    if target == PATTERN:
        image = target_pattern(height, width)
    else:
        image = read_image(target, (height, width))
    image = image[None].to(pipeline.unet.device)
    with torch.no_grad():
        return Target(image, encode_images(pipeline, image))


def objective_values(
    pipeline: Pipeline,
    images: Tensor,
    text: Conditioning,
    settings: AttackSettings,
    target: Target | None,
    seeds: Sequence[int],
    unet: UNet2DConditionModel | None = None,
) -> Tensor:
    """The attack's objective at one draw per image, float32, shape (N,).

    Differentiable in ``images``; encodes each image once.

    Args:
        images: shape (N, 3, H, W) in [0, 1].
        text: of the prompts, one row per image.
        seeds: one per image, for transformations, timestep and noise.
        unet: the denoiser to attack, the pipeline's own by default.
    """
    seen = pad(pipeline, transform(images, settings.transformations, seeds))
    return OBJECTIVES[settings.method](make_draw(pipeline, seen, text, seeds, unet, target))


def attack(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    settings: AttackSettings,
    seeds: Sequence[int],
    batch_size: int = BATCH,
    objective: Callable[..., Tensor] = objective_values,
) -> Tensor:
    """Attacked images, float32, shape (N, 3, H, W) in [0, 1], on the device of ``images``.

    Every value is a multiple of 1/255 and the budget holds for these values, so that it still does
    once they are saved as 8-bit files; of l2, relative to the original in 8 bits. Images of a size
    that the VAE cannot take are continued at their edges while they are attacked. The U-Net is
    attacked with whatever adapters are active on it. The pipeline is left as it was. An image's
    random numbers depend on its seed alone, not on ``batch_size`` or on its place among the others;
    a surrogate trains on all images together.

    Args:
        images: float, shape (N, 3, H, W) in [0, 1].
        prompts: one per image, the text the denoiser is conditioned on.
        seeds: one per image.
        batch_size: images per gradient step; changes memory and speed only.
        objective: what to raise, called as `objective_values` is; attackers who know the defence
            raise another one than that.

    Raises:
        ValueError: shapes, ranges or lengths that do not fit, an l2 budget too small for 8 bits, or
            an attack on a component, see `lord.attacks.components.attack_component`.
        FloatingPointError: a gradient is not finite, as half precision may cause.
    """
    check_supported(pipeline)
    if settings.method == COMPONENT:
        raise ValueError(f"method: {COMPONENT!r} is for lord.attacks.components.attack_component")
    original = originals(images, prompts, seeds, settings)
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}.")
    attacked = start(original, settings, seeds)
    chunks = [slice(first, first + batch_size) for first in range(0, len(images), batch_size)]
    text = encode_prompts(pipeline, prompts)
    with frozen(pipeline.vae, pipeline.unet):
        target = None
        if settings.method in TARGETED:
            target = load_target(pipeline, settings.target, *pad(pipeline, original).shape[2:])
        known: dict[str, Tensor] = {}
        if settings.method == SIMAC and objective is objective_values:
            objective = simac_values
            informative = [
                informative_times(pipeline, original[c], text[c], settings, seeds[c])
                for c in track(chunks, f"{SIMAC}: timesteps")
            ]
            known = {"clean": original, "informative": torch.cat(informative)}
        rounds = victims(pipeline, original, attacked, text, settings, seeds)
        for number, unet in enumerate(rounds):
            label = f"{settings.method} round {number + 1} of {settings.rounds}"
            total = len(chunks) * settings.steps
            for chunk, step in track(product(chunks, range(settings.steps)), label, total):
                value = partial(
                    objective,
                    pipeline,
                    text=text[chunk],
                    settings=settings,
                    target=target,
                    unet=unet,
                    **{name: rows[chunk] for name, rows in known.items()},
                )
                draws = [
                    [derive_seed("attack", seed, number, step, k) for seed in seeds[chunk]]
                    for k in range(settings.draws)
                ]
                losses = [partial(value, seeds=row) for row in draws]
                attacked[chunk] = ascend(losses, attacked[chunk], original[chunk], settings, step)
    return quantise(attacked, original, settings.eps, settings.norm)


def originals(
    images: Tensor, prompts: Sequence[str], seeds: Sequence[int], settings: AttackSettings
) -> Tensor:
    """What the budget of an attack is measured from: images (N, 3, H, W), in 8 bits for l2.

    Raises:
        ValueError: shapes, ranges or lengths that do not fit.
    """
    check_images(images)
    if isinstance(prompts, str) or not len(images) == len(prompts) == len(seeds):
        raise ValueError(
            f"prompts, seeds: expected one per image, a list each, for {len(images)} images."
        )
    original = images.detach().float()
    return (original * 255).round() / 255 if settings.norm == "l2" else original


@torch.no_grad()
def denoising_loss(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    draws: int = 16,
    batch_size: int = BATCH,
) -> Tensor:
    """How badly the model fits each image: mean‖ε_θ(z_t) − ϵ‖², shape (N,), on the CPU.

    The mean of ``draws`` timesteps and noises, the same ones for every image.
    """
    text = encode_prompts(pipeline, prompts)
    total = torch.zeros(len(images))
    for first in range(0, len(images), batch_size):
        chunk = slice(first, first + batch_size)
        latents = encode_images(pipeline, pad(pipeline, images[chunk]))
        for number in range(draws):
            seeds = [derive_seed("denoising loss", number)] * len(latents)
            losses = advdm(draw_of(pipeline, latents, text[chunk], seeds))
            total[chunk] += losses.float().cpu() / draws
    return total


def ascend(
    losses: Sequence[Callable[[Tensor], Tensor]],
    images: Tensor,
    original: Tensor,
    settings: AttackSettings,
    step: int,
) -> Tensor:
    """The images after one step of an attack, as `pgd_step`, by the budget of its settings.

    Args:
        step: its number, from 0, by which the step shrinks if it does.
    """
    decay = 1 - step / settings.steps if settings.step_decay else 1
    step_size = settings.step_size * decay
    return pgd_step(losses, images, original, settings.eps, step_size, settings.norm)


def pgd_step(
    losses: Sequence[Callable[[Tensor], Tensor]],
    images: Tensor,
    original: Tensor,
    eps: float,
    step_size: float,
    norm: Literal["linf", "l2"] = "linf",
) -> Tensor:
    """One step up the mean gradient, projected on the ε ball and the pixel range.

    The direction is the sign of the gradient for l∞, the gradient at unit length for l2.

    Args:
        losses: each from images of shape (N, 3, H, W) to shape (N,).

    Raises:
        FloatingPointError: the gradient of an image is not finite.
    """
    candidates = images.detach().clone().requires_grad_()
    # The scale leaves directions as they are. A large one keeps gradients in half precision from
    # underflowing; if they overflow, a smaller one is tried.
    for scale in GRADIENT_SCALES:
        gradient = torch.zeros_like(candidates)
        for loss in losses:
            # The sum over the batch keeps the gradients of its images apart.
            gradient += torch.autograd.grad(loss(candidates).sum() * scale, candidates)[0]
        finite = gradient.isfinite().flatten(1).all(dim=1)
        if finite.all():
            break
    if not finite.all():
        broken = (~finite).nonzero().flatten().tolist()
        raise FloatingPointError(
            f"The gradient of image {broken} in the batch is not finite. If the model is in half "
            "precision, load it in bfloat16 or float32."
        )
    return project(images + step_size * uphill(gradient, norm), original, eps, norm)


@contextmanager
def frozen(*modules: torch.nn.Module) -> Iterator[None]:
    """Inside the block no weight of the modules asks for a gradient; then their flags return."""
    weights = [weight for module in modules for weight in module.parameters()]
    flags = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for weight, flag in zip(weights, flags, strict=True):
            weight.requires_grad_(flag)
