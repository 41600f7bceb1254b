"""Attacks that make images unlearnable: projected gradient ascent in pixel space.

Every attack here is the same loop (projected gradient descent, PGD; Madry et al., 2018,
arXiv:1706.06083) around its own objective (see `lord.objectives`). The loop raises the objective
inside a ball of radius ε around the original:

    x ← Π_{‖x − x₀‖ ≤ ε, x ∈ [0, 1]} ( x + α · sign ∇ₓ L(x) )

ε and the step α are in [0, 1] pixel units: ``8/255`` is eight grey levels of 255. (Most published
code perturbs in [-1, 1], where the same number means half as much.)
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from lord.adapter import add_adapter
from lord.data.folder import read_image
from lord.data.pattern import target_pattern
from lord.model.diffusion import check_predicts_noise
from lord.model.pipeline import check_images, encode_images, encode_prompts
from lord.objectives import OBJECTIVES, TARGETED, Target, advdm, make_draw
from lord.progress import track
from lord.seeding import derive_seed, noise
from lord.transformations import transform

NOISE = "noise"
PATTERN = "pattern"
SURROGATE = "surrogate"
GRADIENT_SCALES = (2.0**14, 2.0**7, 1.0, 2.0**-7)

ANTI_DREAMBOOTH = {"eps": 6.4 / 255, "step_size": 0.64 / 255}
ACE = {"eps": 4 / 255, "step_size": 0.64 / 255, "steps": 30, "surrogate": "alternating"}
PUBLISHED: dict[str, dict[str, Any]] = {
    "advdm": {"eps": 16 / 255, "step_size": 1 / 255, "steps": 100},
    "encoder": {"eps": 0.03, "step_size": 1 / 255, "steps": 200}
    | {"random_start": True, "step_decay": True},
    "diffusion": {"eps": 0.03, "step_size": 1 / 255, "steps": 200, "draws": 10}
    | {"random_start": True, "step_decay": True},
    "mist": {"eps": 16 / 255, "step_size": 1 / 255, "steps": 100},
    "sds_minus": {"eps": 16 / 255, "step_size": 1 / 255, "steps": 100},
    "sds_plus": {"eps": 16 / 255, "step_size": 1 / 255, "steps": 100},
    "fsmg": ANTI_DREAMBOOTH | {"steps": 100, "surrogate": "fixed", "surrogate_steps": 100},
    "aspl": ANTI_DREAMBOOTH
    | {"steps": 6, "surrogate": "cloned", "rounds": 50, "surrogate_steps": 3},
    "ace": ACE | {"rounds": 5, "surrogate_steps": 10},
    "ace_plus": ACE | {"rounds": 5, "surrogate_steps": 10},
    "mist_v2_fused": ACE | {"rounds": 5, "surrogate_steps": 10},
    NOISE: {"eps": 8 / 255, "step_size": 1 / 255, "steps": 0, "random_start": True},
}
"""Each attack with the settings of its public implementation, on the true pixel scale.

Not as published: the steps of PhotoGuard's attacks, and how long the surrogate of FSMG learns, are
choices of ours; surrogates are LoRAs everywhere, where Anti-DreamBooth trains all weights; AdvDM
attacks the mean of the encoder's distribution instead of samples of it. ``noise`` is the control
that every attack has to beat: the same loop with a random start and no step.
"""

Surrogate = Literal["none", "fixed", "alternating", "cloned"]
NEEDED_SURROGATE: dict[str, Surrogate] = {"fsmg": "fixed", "aspl": "cloned"}
"""Attacks that are AdvDM but for their surrogate."""


class AttackSettings(BaseModel):
    """What an attack may do. What is not given is as published for the method (`PUBLISHED`).

    The surrogate is a copy of the denoiser with a LoRA that learns images by the denoising loss:

    ===============  =============================================================================
    ``none``         the model as given is attacked
    ``fixed``        the surrogate learns the clean images for ``surrogate_steps``, then is attacked
    ``alternating``  ``rounds`` of ``steps`` of PGD; between them the surrogate learns the attacked
                     images, so that later rounds attack a model that already learns from them
    ``cloned``       as before, and in each round a clone that has also learned the clean images
                     is attacked (ASPL)
    ===============  =============================================================================
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal[(*OBJECTIVES, NOISE)] = "ace"
    norm: Literal["linf", "l2"] = Field("linf", description="what eps bounds")
    eps: float = Field(gt=0, description="budget, in [0, 1] pixel units; of l2, of a whole image")
    step_size: float = Field(gt=0, description="step, in the units of eps")
    steps: int = Field(ge=0, description="gradient steps in each round; 0 for noise alone")
    step_decay: bool = Field(False, description="shrink the step linearly over the steps")
    random_start: bool = Field(False, description="start at a random change within the budget")
    draws: int = Field(1, ge=1, description="timesteps and noises averaged in each gradient")
    transformations: tuple[Literal["jpeg", "resize", "blur"], ...] = Field(
        (), description="what the images go through before each gradient"
    )
    target: str | None = Field(
        PATTERN, description=f"'{PATTERN}' or the path of an image; unused by untargeted attacks"
    )
    surrogate: Surrogate = "none"
    rounds: int = Field(1, ge=1, description="rounds of PGD, with the surrogate trained in between")
    surrogate_steps: int = Field(10, ge=1)
    surrogate_batch_size: int = Field(4, ge=1)
    surrogate_rank: int = Field(4, ge=1)
    surrogate_learning_rate: float = Field(1e-4, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        published = PUBLISHED.get(values.get("method", "ace"), {})
        if values.get("norm") == "l2":  # all published budgets bound single pixels
            published = {k: v for k, v in published.items() if k not in ("eps", "step_size")}
        return published | values

    @model_validator(mode="after")
    def _complete(self) -> "AttackSettings":
        if self.method in TARGETED and not self.target:
            raise ValueError(
                f"target: {self.method} drives the model to a target image and none is given; set "
                f"it to '{PATTERN}' or to the path of an image."
            )
        if self.norm == "linf" and not 1 / 255 <= self.eps <= 1:
            raise ValueError("eps: expected at least 1/255, one grey level, and at most 1")
        if (self.steps == 0) != (self.method == NOISE):
            raise ValueError(f"steps: {NOISE!r} takes 0, and every attack at least 1")
        if self.method == NOISE and not (self.random_start and self.surrogate == "none"):
            raise ValueError(f"{NOISE!r} is a random start alone: no surrogate can change it")
        needed = NEEDED_SURROGATE.get(self.method, self.surrogate)
        if self.surrogate != needed:
            raise ValueError(f"surrogate: {self.method} without {needed!r} would be AdvDM")
        if self.method == "advdm" and self.surrogate in NEEDED_SURROGATE.values():
            raise ValueError(f"surrogate: advdm with {self.surrogate!r} is FSMG or ASPL: name it")
        if self.rounds > 1 and self.surrogate in ("none", "fixed"):
            raise ValueError(f"rounds: a surrogate that is {self.surrogate!r} has only one")
        return self

    @property
    def together(self) -> bool:
        """Whether images influence each other, through a surrogate that learns all of them."""
        return self.surrogate in ("fixed", "cloned") or self.rounds > 1


def load_target(pipeline: StableDiffusionPipeline, target: str, height: int, width: int) -> Target:
    """The target of an attack at a size, in pixels and as latents.

    Raises:
        FileNotFoundError, ValueError: ``target`` is neither ``"pattern"`` nor a readable image.
    """
    if target == PATTERN:
        image = target_pattern(height, width)
    else:
        image = read_image(target, (height, width))
    image = image[None].to(pipeline.device)
    with torch.no_grad():
        return Target(image, encode_images(pipeline, image))


def attack(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    settings: AttackSettings,
    seeds: Sequence[int],
    batch_size: int = 16,
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

    Raises:
        ValueError: shapes, ranges or lengths that do not fit, or an l2 budget too small for 8 bits.
        FloatingPointError: a gradient is not finite, as half precision may cause.
    """
    _check_inputs(pipeline, images, prompts, seeds, batch_size)
    original = images.detach().float()
    if settings.norm == "l2":
        original = (original * 255).round() / 255
    attacked = start(original, settings, seeds)
    chunks = [slice(first, first + batch_size) for first in range(0, len(images), batch_size)]
    text = encode_prompts(pipeline, prompts)
    with frozen(pipeline.vae, pipeline.unet):
        target = None
        if settings.method in TARGETED:
            target = load_target(pipeline, settings.target, *pad(pipeline, original).shape[2:])
        rounds = victims(pipeline, original, attacked, text, settings, seeds)
        for number, unet in enumerate(rounds):
            label = f"{settings.method} round {number + 1} of {settings.rounds}"
            total = len(chunks) * settings.steps
            for chunk, step in track(product(chunks, range(settings.steps)), label, total):
                value = partial(
                    objective_values,
                    pipeline,
                    text=text[chunk],
                    settings=settings,
                    target=target,
                    unet=unet,
                )
                draws = [
                    [derive_seed("attack", seed, number, step, k) for seed in seeds[chunk]]
                    for k in range(settings.draws)
                ]
                decay = 1 - step / settings.steps if settings.step_decay else 1
                attacked[chunk] = pgd_step(
                    [partial(value, seeds=row) for row in draws],
                    attacked[chunk],
                    original[chunk],
                    settings.eps,
                    settings.step_size * decay,
                    settings.norm,
                )
    return quantise(attacked, original, settings.eps, settings.norm)


def objective_values(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    text: Tensor,
    settings: AttackSettings,
    target: Target | None,
    seeds: Sequence[int],
    unet: UNet2DConditionModel | None = None,
) -> Tensor:
    """The attack's objective at one draw per image, float32, shape (N,).

    Differentiable in ``images``; encodes each image once.

    Args:
        images: shape (N, 3, H, W) in [0, 1].
        text: embeddings, shape (N, L, D).
        seeds: one per image, for transformations, timestep and noise.
        unet: the denoiser to attack, the pipeline's own by default.
    """
    seen = pad(pipeline, transform(images, settings.transformations, seeds))
    return OBJECTIVES[settings.method](make_draw(pipeline, seen, text, seeds, unet, target))


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
    for number in range(draws):
        seed = derive_seed("denoising loss", number)
        for first in range(0, len(images), batch_size):
            chunk = slice(first, first + batch_size)
            seen = pad(pipeline, images[chunk])
            losses = advdm(make_draw(pipeline, seen, text[chunk], [seed] * len(seen)))
            total[chunk] += losses.float().cpu() / draws
    return total


def pad(pipeline: StableDiffusionPipeline, images: Tensor) -> Tensor:
    """Images whose height and width the VAE can halve: the last row and column are repeated."""
    factor = pipeline.vae_scale_factor
    height, width = (-side % factor for side in images.shape[2:])
    return F.pad(images, (0, width, 0, height), mode="replicate") if height or width else images


def start(original: Tensor, settings: AttackSettings, seeds: Sequence[int]) -> Tensor:
    """Where PGD starts: at the originals or, on request, anywhere within ε (l∞) or at ε (l2)."""
    if not settings.random_start:
        return original.clone()
    shape = original.shape[1:]
    rows = noise([derive_seed(seed, "start") for seed in seeds], shape, original.device)
    # The normal distribution function makes normal numbers uniform.
    rows = torch.special.ndtr(rows) * 2 - 1 if settings.norm == "linf" else _unit(rows)
    return project(original + settings.eps * rows, original, settings.eps, settings.norm)


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
    direction = gradient.sign() if norm == "linf" else _unit(gradient)
    return project(images + step_size * direction, original, eps, norm)


def _unit(rows: Tensor) -> Tensor:
    """Each row at Euclidean length 1, or 0 where it is 0."""
    return F.normalize(rows.flatten(1), dim=1).view_as(rows)


def project(
    images: Tensor, original: Tensor, eps: float, norm: Literal["linf", "l2"] = "linf"
) -> Tensor:
    """The nearest images within ε of the originals, then cut to [0, 1], which is nearer still."""
    if norm == "linf":
        return images.clamp(original - eps, original + eps).clamp(0, 1)
    change = images - original
    length = change.flatten(1).norm(dim=1).clamp(min=eps).view(-1, 1, 1, 1)
    return (original + change * (eps / length)).clamp(0, 1)


def quantise(
    images: Tensor, original: Tensor, eps: float, norm: Literal["linf", "l2"] = "linf"
) -> Tensor:
    """Images on the grid of 1/255 within ε of the originals: for l∞ the nearest ones.

    Those exist for every ε ≥ 1/255. In double precision, where ``8/255 * 255`` is 8 to 1e-14, so
    that rounding costs no grey level of the budget. For l2, whose originals are on the grid, the
    change is shrunk as little as it takes for the rounded one to be within the budget.

    Raises:
        ValueError: an l2 budget so small that nothing is left of the change of an image.
    """
    levels, centre, tolerance = images.double() * 255, original.double() * 255, 1e-4
    if norm == "l2":
        return ((centre.round() + _shrink(levels - centre.round(), eps * 255)) / 255).float()
    lowest = (centre - eps * 255 - tolerance).ceil().clamp(min=0)
    highest = (centre + eps * 255 + tolerance).floor().clamp(max=255)
    return (levels.round().clamp(lowest, highest) / 255).float()


def _shrink(change: Tensor, length: float) -> Tensor:
    """Whole numbers nearest to each row times the largest factor ≤ 1 that keeps it in length."""
    low, high = torch.zeros(len(change), 1, 1, 1).to(change), torch.ones(len(change), 1, 1, 1)
    factor = high = high.to(change)
    for _ in range(24):  # bisection, from the factor 1 on
        fits = (factor * change).round().flatten(1).norm(dim=1).view(-1, 1, 1, 1) <= length
        low, high = torch.where(fits, factor, low), torch.where(fits, high, factor)
        factor = (low + high) / 2
    whole = (low * change).round()
    if (change.flatten(1).any(dim=1) & ~whole.flatten(1).any(dim=1)).any():
        raise ValueError("eps: this l2 budget is too small for 8 bits a pixel; raise it")
    return whole


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


def victims(
    pipeline: StableDiffusionPipeline,
    original: Tensor,
    attacked: Tensor,
    text: Tensor,
    settings: AttackSettings,
    seeds: Sequence[int],
) -> Iterator[UNet2DConditionModel]:
    """The denoiser to attack in each round, by the surrogate's schedule (see `AttackSettings`).

    Args:
        attacked: the attacked images as they are; written to between the rounds.
    """
    learn = partial(train_surrogate, pipeline, text=text, settings=settings, seeds=seeds)
    surrogate = None
    if settings.surrogate in ("fixed", "cloned"):
        surrogate = make_surrogate(pipeline.unet, settings.surrogate_rank)
    if settings.surrogate == "fixed":
        learn(surrogate, original, purpose="clean")
    for number in range(settings.rounds):
        if settings.surrogate == "cloned":
            clone = copy.deepcopy(surrogate)
            learn(clone, original, purpose=f"clean {number}")
            yield clone
            if number + 1 < settings.rounds:
                learn(surrogate, attacked, purpose=f"attacked {number}")
        elif settings.surrogate == "alternating" and number > 0:
            surrogate = surrogate or make_surrogate(pipeline.unet, settings.surrogate_rank)
            learn(surrogate, attacked, purpose=f"attacked {number}")
            yield surrogate
        else:
            yield surrogate or pipeline.unet


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
    purpose: str,
) -> None:
    """Fine-tune the surrogate's LoRA on images, by the plain denoising loss.

    AdamW with weight decay 0.01 and gradient norm clipped at 1, as published for ACE; without the
    class-prior term used there, which needs images of the class.

    Args:
        purpose: tells the random numbers of several trainings apart.
    """
    # In the order of their seeds, so that the order of the images changes nothing.
    order = sorted(range(len(seeds)), key=lambda index: seeds[index])
    weights = [weight for name, weight in surrogate.named_parameters() if f".{SURROGATE}." in name]
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(weights, lr=settings.surrogate_learning_rate, weight_decay=0.01)
    for step in range(settings.surrogate_steps):
        seed = derive_seed("surrogate batch", purpose, step, *sorted(seeds))
        shuffled = torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))
        batch = [order[place] for place in shuffled[: settings.surrogate_batch_size].tolist()]
        draws = [derive_seed("surrogate", seeds[index], purpose, step) for index in batch]
        # The loss to learn an image is the very objective that AdvDM raises.
        losses = advdm(
            make_draw(pipeline, pad(pipeline, images[batch]), text[batch], draws, surrogate)
        )
        optimizer.zero_grad()
        (losses.mean() * GRADIENT_SCALES[0]).backward()
        for weight in weights:
            weight.grad /= GRADIENT_SCALES[0]
        if not torch.nn.utils.clip_grad_norm_(weights, 1.0).isfinite():
            raise FloatingPointError("the gradient of the surrogate is not finite: use float32")
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
