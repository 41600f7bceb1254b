"""The photographs of the study, clean and after attacks; each attacked set is made once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.experiments.lord.budget import MixedAttack, attack_components
from lord.experiments.lord.chain.model import base_pipeline, weights
from lord.experiments.lord.chain.subjects import Shown, subject_of
from lord.seeding import derive_seed
from lord.study.context import Context
from lord.study.experiment import Cell, Settings


def album(cell: Cell) -> tuple[Tensor, list[str]]:
    """The photographs of a subject of the first domain, with their captions."""
    own = cell.settings
    subject = subject_of(own, own.domains[0], "evaluation", cell["subject"])
    images = subject.photographs(own.photographs, own.size).images
    return images, [subject.prompt] * len(images)


def photographs_of(
    context: Context,
    settings: Settings,
    subject: Shown,
    seed: int,
    attacked: AttackSettings | None,
) -> Tensor:
    """The subject's training photographs, attacked by someone who knows the base model, or clean.

    Shape (N, 3, H, W) in [0, 1].
    """
    clean = subject.photographs(settings.photographs, settings.size).images
    if attacked is None:
        return clean
    prompts = [subject.prompt] * len(clean)
    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-{attacked.method}"
    seeds = attack_seeds(seed, len(prompts))
    return attacked_once(context, settings, name, clean, prompts, attacked, seeds)


def attack_seeds(seed: int, count: int) -> list[int]:
    """A seed for each of a subject's photographs."""
    return [derive_seed("attack", seed, k) for k in range(count)]


def attacked_once(
    context: Context,
    settings: Settings,
    name: str,
    images: Tensor,
    prompts: list[str],
    attacked: AttackSettings,
    seeds: list[int],
) -> Tensor:
    """Images after an attack on the base model, whatever adapters the pipeline has, made once.

    Of several attacks that take turns, image k is what the k-th of them makes of it.
    """

    def make() -> Tensor:
        pipeline, batch = base_pipeline(context, settings), settings.batch_size
        if not isinstance(attacked, MixedAttack):
            return attack(pipeline, images, prompts, attacked, seeds, batch)
        result, turns = torch.empty_like(images), len(attacked.methods)
        for turn, own in enumerate(attacked.attacks()):
            part = slice(turn, None, turns)
            result[part] = attack(pipeline, images[part], prompts[part], own, seeds[part], batch)
        return result

    asked = {"attack": attacked.model_dump(mode="json"), "count": len(images)}
    return images_once(context, settings, name, asked, attack_components(attacked), make)


def images_once(
    context: Context,
    settings: Settings,
    name: str,
    asked: dict[str, Any],
    components: list[str],
    make: Callable[[], Tensor],
) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] as 8-bit files would keep them, made once and kept.

    Args:
        asked, components: what they depend on beside the model, see `Context.path`.
    """

    def rounded() -> dict[str, Tensor]:
        return {"images": (make() * 255).round().to(torch.uint8)}

    asked = weights(settings) | asked
    kept = context.once(name, asked, ["step:renderer", *components], rounded)
    return kept["images"].float() / 255
