"""Attacks that make images unlearnable: projected gradient ascent in pixel space.

Every attack here is the same loop (projected gradient descent, PGD; Madry et al., 2018,
arXiv:1706.06083) around its own objective. An objective says what the perturbation should do to the
denoiser, as one number per image, and the loop raises it inside an l∞ ball of radius ε:

    x ← Π_{‖x − x₀‖∞ ≤ ε, x ∈ [0, 1]} ( x + α · sign ∇ₓ L(x) )

ε and the step α are in [0, 1] pixel units: ``8/255`` is eight grey levels of 255. (Most published
code perturbs in [-1, 1], where the same number means half as much.)
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Literal

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from lord import seeding
from lord.adapter import add_adapter
from lord.data.folder import read_image
from lord.model.diffusion import (
    check_predicts_noise,
    noised,
    predict,
    row_errors,
    training_schedule,
)
from lord.model.pipeline import check_images, encode_images, encode_prompts
from lord.progress import track

PATTERN = "pattern"
SURROGATE = "surrogate"
GRADIENT_SCALE = 2.0**14


# Objectives. Each takes the U-Net's noise prediction ε_θ(z_t, t, c), the noise ϵ that made z_t, the
# clean latents z and the target latents z_T, all of shape (N, C, h, w), and gives shape (N,).


def ace(prediction: Tensor, noise: Tensor, latents: Tensor, target: Tensor) -> Tensor:
    """−mean‖ε_θ(z_t) − z_T‖²: every noise prediction is driven to one target (ACE).

    Zheng et al., "Targeted attack improves protection against unauthorized diffusion
    customization", arXiv:2310.04687.
    """
    return -row_errors(prediction, target.expand_as(prediction))


def advdm(prediction: Tensor, noise: Tensor, latents: Tensor, target: Tensor | None) -> Tensor:
    """mean‖ε_θ(z_t) − ϵ‖²: the image no longer fits the model (AdvDM).

    Liang et al., "Adversarial example does good: preventing painting imitation from diffusion
    models via adversarial examples", arXiv:2302.04578.
    """
    return row_errors(prediction, noise)


OBJECTIVES: dict[str, Callable[..., Tensor]] = {"ace": ace, "advdm": advdm}
TARGETED = frozenset({"ace"})


class AttackSettings(BaseModel):
    """What an attack may do. The defaults are those published for ACE, on the true pixel scale.

    With ``rounds`` above one, the attack alternates: ``steps`` of PGD, then ``surrogate_steps`` of
    LoRA fine-tuning on the perturbed images, so that later rounds attack a model that already
    learns from them. The first round always attacks the model as given.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["ace", "advdm"] = "ace"
    eps: float = Field(4 / 255, ge=1 / 255, le=1, description="budget, in [0, 1] pixel units (l∞)")
    step_size: float = Field(0.64 / 255, gt=0, le=1, description="step, in [0, 1] pixel units")
    steps: int = Field(30, ge=1, description="gradient steps in each round")
    target: str | None = Field(
        PATTERN, description=f"'{PATTERN}' or the path of an image; unused by untargeted attacks"
    )
    rounds: int = Field(5, ge=1, description="rounds of PGD, with the surrogate trained in between")
    surrogate_steps: int = Field(10, ge=1)
    surrogate_batch_size: int = Field(4, ge=1)
    surrogate_rank: int = Field(4, ge=1)
    surrogate_learning_rate: float = Field(1e-4, gt=0)

    @model_validator(mode="after")
    def _targeted_attacks_have_a_target(self) -> "AttackSettings":
        if self.method in TARGETED and not self.target:
            raise ValueError(
                f"target: {self.method} drives the model to a target image and none is given; set "
                f"it to '{PATTERN}' or to the path of an image."
            )
        return self


PUBLISHED = {
    "ace": AttackSettings(method="ace"),
    "advdm": AttackSettings(
        method="advdm", eps=16 / 255, step_size=1 / 255, steps=100, rounds=1, target=None
    ),
}
"""Each attack with the settings of its public implementation, on the true pixel scale."""


def target_pattern(height: int, width: int | None = None) -> Tensor:
    """The built-in target of ACE: tiled black and white diamonds, shape (3, height, width).

    Four tiles along the shorter side. Neighbouring tiles are inverted, so the pattern has high
    contrast at several scales and no mean of its own.
    """
    width = width or height
    tile = min(height, width) / 4
    y = (torch.arange(height) + 0.5) / tile
    x = (torch.arange(width) + 0.5) / tile
    from_centre = (y.frac() - 0.5).abs()[:, None] + (x.frac() - 0.5).abs()[None, :]
    bands = (from_centre * 4).long() % 2
    inverted = (y.long()[:, None] + x.long()[None, :]) % 2
    return (bands ^ inverted).float().expand(3, height, width).contiguous()


def load_target(target: str, height: int, width: int) -> Tensor:
    """The target image of an attack, shape (3, height, width) in [0, 1].

    Raises:
        FileNotFoundError, ValueError: ``target`` is neither ``"pattern"`` nor a readable image.
    """
    if target == PATTERN:
        return target_pattern(height, width)
    return read_image(target, (height, width))


def attack(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    settings: AttackSettings,
    seeds: Sequence[int],
    batch_size: int = 16,
) -> Tensor:
    """Attacked images, float32, shape (N, 3, H, W) in [0, 1], on the device of ``images``.

    Every value is a multiple of 1/255 within ε of the input, so the budget still holds after the
    images are saved as 8-bit files. The U-Net is attacked with whatever adapters are active on it.
    The pipeline is left as it was. An image's timesteps and noise depend on its seed alone, not on
    ``batch_size`` or on its place among the others; surrogate rounds train on all images together.

    Args:
        images: float, shape (N, 3, H, W) in [0, 1].
        prompts: one per image, the text the denoiser is conditioned on.
        seeds: one per image.
        batch_size: images per gradient step; changes memory and speed only.

    Raises:
        ValueError: shapes, ranges or lengths that do not fit.
        FloatingPointError: a gradient is not finite, as half precision may cause.
    """
    _check_inputs(pipeline, images, prompts, seeds, batch_size)
    original = images.detach().float()
    attacked = original.clone()
    chunks = [slice(start, start + batch_size) for start in range(0, len(images), batch_size)]
    # A copy leaves inference mode behind, so that the embeddings may enter a gradient graph.
    text = encode_prompts(pipeline, prompts).clone()
    unet = pipeline.unet
    with frozen(pipeline.vae, pipeline.unet):
        target = None
        if settings.method in TARGETED:
            target_image = load_target(settings.target, *images.shape[2:])
            target = encode_images(pipeline, target_image[None]).detach()
        for number in range(settings.rounds):
            if number == 1:
                unet = make_surrogate(pipeline.unet, settings.surrogate_rank)
            if number > 0:
                train_surrogate(pipeline, unet, attacked, text, settings, seeds, number)
            label = f"{settings.method} round {number + 1} of {settings.rounds}"
            total = len(chunks) * settings.steps
            for chunk, step in track(product(chunks, range(settings.steps)), label, total):
                draws = [seeding.derive_seed("attack", seed, number, step) for seed in seeds[chunk]]
                values = partial(
                    objective_values,
                    pipeline,
                    text=text[chunk],
                    method=settings.method,
                    target=target,
                    seeds=draws,
                    unet=unet,
                )
                attacked[chunk] = pgd_step(
                    values, attacked[chunk], original[chunk], settings.eps, settings.step_size
                )
    return quantise(attacked, original, settings.eps)


def objective_values(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    text: Tensor,
    method: str,
    target: Tensor | None,
    seeds: Sequence[int],
    unet: UNet2DConditionModel | None = None,
) -> Tensor:
    """The attack's objective at one (timestep, noise) draw per image, float32, shape (N,).

    Differentiable in ``images``; encodes each image once.

    Args:
        images: shape (N, 3, H, W) in [0, 1].
        text: embeddings, shape (N, L, D).
        target: latents of the target, shape (1, C, h, w), or None for untargeted attacks.
        seeds: one per image, for its timestep and its noise.
        unet: the denoiser to attack, the pipeline's own by default.
    """
    latents = encode_images(pipeline, images)
    # Noising and the means are computed in single precision at least, whatever the model's.
    latents = latents.to(torch.promote_types(latents.dtype, torch.float32))
    unet = unet or pipeline.unet
    noisy, times, epsilon = noised(training_schedule(pipeline), latents, seeds)
    prediction = predict(unet, noisy, times, text.to(unet.dtype))
    return OBJECTIVES[method](prediction, epsilon, latents, target)


@torch.no_grad()
def denoising_loss(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    draws: int = 16,
    batch_size: int = 16,
) -> Tensor:
    """How badly the model fits each image: mean‖ε_θ(z_t) − ϵ‖², shape (N,), on the CPU.

    The mean of ``draws`` timesteps and noises, the same ones for every image.
    """
    text = encode_prompts(pipeline, prompts)
    total = torch.zeros(len(images))
    for draw in range(draws):
        seed = seeding.derive_seed("denoising loss", draw)
        for start in range(0, len(images), batch_size):
            chunk = slice(start, start + batch_size)
            seeds = [seed] * len(images[chunk])
            losses = objective_values(pipeline, images[chunk], text[chunk], "advdm", None, seeds)
            total[chunk] += losses.float().cpu() / draws
    return total


def pgd_step(
    loss: Callable[[Tensor], Tensor],
    images: Tensor,
    original: Tensor,
    eps: float,
    step_size: float,
) -> Tensor:
    """One step up the sign of the gradient, projected on the ε ball and the pixel range.

    Args:
        loss: images of shape (N, 3, H, W) to shape (N,).

    Raises:
        FloatingPointError: the gradient of an image is not finite.
    """
    candidates = images.detach().clone().requires_grad_()
    # The sum over the batch keeps the gradients of its images apart; the scale leaves the signs as
    # they are and keeps half-precision gradients from underflowing.
    (gradient,) = torch.autograd.grad(loss(candidates).sum() * GRADIENT_SCALE, candidates)
    finite = gradient.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        broken = (~finite).nonzero().flatten().tolist()
        raise FloatingPointError(
            f"The gradient of image {broken} in the batch is not finite. If the model is in half "
            "precision, load it in bfloat16 or float32."
        )
    moved = images + step_size * gradient.sign()
    return project(moved, original, eps)


def project(images: Tensor, original: Tensor, eps: float) -> Tensor:
    """The nearest images within ε of the originals (l∞) and in [0, 1]."""
    return images.clamp(original - eps, original + eps).clamp(0, 1)


def quantise(images: Tensor, original: Tensor, eps: float) -> Tensor:
    """The nearest images on the grid of 1/255 within ε of the originals.

    Exists for every ε ≥ 1/255. In double precision, where ``8/255 * 255`` is 8 to 1e-14, so that
    rounding costs no grey level of the budget.
    """
    levels, centre, tolerance = images.double() * 255, original.double() * 255, 1e-4
    lowest = (centre - eps * 255 - tolerance).ceil().clamp(min=0)
    highest = (centre + eps * 255 + tolerance).floor().clamp(max=255)
    return (levels.round().clamp(lowest, highest) / 255).float()


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


def make_surrogate(unet: UNet2DConditionModel, rank: int) -> UNet2DConditionModel:
    """A frozen copy of the U-Net with a new LoRA that acts beside the adapters active on it."""
    surrogate = copy.deepcopy(unet)
    for layer in surrogate.modules():
        if isinstance(layer, BaseTunerLayer) and (layer.disable_adapters or layer.merged):
            # What is merged is part of the copy's weights; as "merged" it would shut out the LoRA.
            layer.merged_adapters = []
            layer.enable_adapters(True)
            layer.set_adapter([])
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"]
    )
    add_adapter(surrogate, config, SURROGATE)
    return surrogate.requires_grad_(False)


def train_surrogate(
    pipeline: StableDiffusionPipeline,
    surrogate: UNet2DConditionModel,
    images: Tensor,
    text: Tensor,
    settings: AttackSettings,
    seeds: Sequence[int],
    number: int,
) -> None:
    """Fine-tune the surrogate's LoRA on the perturbed images, by the plain denoising loss.

    AdamW with weight decay 0.01 and gradient norm clipped at 1, as published for ACE; without the
    class-prior term used there, which needs images of the class.
    """
    # In the order of their seeds, so that the order of the images changes nothing.
    order = sorted(range(len(seeds)), key=lambda index: seeds[index])
    weights = [weight for name, weight in surrogate.named_parameters() if f".{SURROGATE}." in name]
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(weights, lr=settings.surrogate_learning_rate, weight_decay=0.01)
    for step in range(settings.surrogate_steps):
        seed = seeding.derive_seed("surrogate batch", number, step, *sorted(seeds))
        shuffled = torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))
        batch = [order[place] for place in shuffled[: settings.surrogate_batch_size].tolist()]
        draws = [seeding.derive_seed("surrogate", seeds[index], number, step) for index in batch]
        # The loss to learn an image is the very objective that AdvDM raises.
        losses = objective_values(
            pipeline, images[batch], text[batch], "advdm", None, draws, surrogate
        )
        optimizer.zero_grad()
        (losses.mean() * GRADIENT_SCALE).backward()
        for weight in weights:
            weight.grad /= GRADIENT_SCALE
        torch.nn.utils.clip_grad_norm_(weights, 1.0, error_if_nonfinite=True)
        optimizer.step()
    surrogate.requires_grad_(False)


def _check_inputs(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    batch_size: int,
) -> None:
    check_predicts_noise(pipeline)
    check_images(images)
    if isinstance(prompts, str) or not len(images) == len(prompts) == len(seeds):
        raise ValueError(
            f"prompts, seeds: expected one per image, a list each, for {len(images)} images."
        )
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}.")
