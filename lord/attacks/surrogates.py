"""The model that an attack meets in each round: the given one, or a copy that learns the images."""

import copy
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from lord.adapter import add_adapter
from lord.attacks.objectives import advdm, make_draw
from lord.attacks.settings import AttackSettings
from lord.models.conditioning import Conditioning
from lord.models.diffusion import Pipeline
from lord.models.pipeline import pad
from lord.seeding import derive_seed

SURROGATE = "surrogate"

# Keeps gradients in half precision from underflowing.
LOSS_SCALE = 2.0**14


def victims(
    pipeline: Pipeline,
    original: Tensor,
    attacked: Tensor,
    text: Conditioning,
    settings: AttackSettings,
    seeds: Sequence[int],
) -> Iterator[UNet2DConditionModel]:
    """The denoiser to attack in each round, by the surrogate's schedule (see `AttackSettings`).

    Args:
        attacked: the attacked images as they are; written to between the rounds.
    """
    learn = partial(train_surrogate, pipeline, text=text, settings=settings, seeds=seeds)
    surrogate = None
    if settings.surrogate in ("fixed", "cloned", "staggered"):
        surrogate = make_surrogate(pipeline.unet, settings.surrogate_rank)
    if settings.surrogate == "fixed":
        learn(surrogate, original, purpose="clean")
    for number in range(settings.rounds):
        if settings.surrogate == "cloned":
            clone = copy_of(surrogate)
            learn(clone, original, purpose=f"clean {number}")
            yield clone
            del clone
            if number + 1 < settings.rounds:
                learn(surrogate, attacked, purpose=f"attacked {number}")
        elif settings.surrogate == "staggered":
            if number > 0:
                learn(surrogate, original, purpose=f"clean {number}")
            clone = copy_of(surrogate)
            learn(clone, attacked, purpose=f"attacked {number}")
            yield clone
            del clone
        elif settings.surrogate == "alternating" and number > 0:
            surrogate = surrogate or make_surrogate(pipeline.unet, settings.surrogate_rank)
            learn(surrogate, attacked, purpose=f"attacked {number}")
            yield surrogate
        else:
            yield surrogate or pipeline.unet


def make_surrogate(unet: UNet2DConditionModel, rank: int) -> UNet2DConditionModel:
    """A frozen copy of the U-Net with a new LoRA that acts beside the adapters active on it."""
    surrogate = copy_of(unet)
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


def copy_of(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A U-Net with a surrogate's LoRA of its own, if there is one; all other weights are shared."""
    shared = {
        id(weight): nn.Parameter(weight.detach(), requires_grad=False)
        for name, weight in unet.named_parameters()
        if f".{SURROGATE}." not in name
    }
    return copy.deepcopy(unet, shared)


def train_surrogate(
    pipeline: Pipeline,
    surrogate: UNet2DConditionModel,
    images: Tensor,
    text: Conditioning,
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
        (losses.mean() * LOSS_SCALE).backward()
        for weight in weights:
            weight.grad /= LOSS_SCALE
        if not torch.nn.utils.clip_grad_norm_(weights, 1.0).isfinite():
            raise FloatingPointError("the gradient of the surrogate is not finite: use float32")
        optimizer.step()
    surrogate.requires_grad_(False)
