"""The photographs of the study after an attack, each set made once."""

from collections.abc import Callable

import torch
from filelock import FileLock
from torch import Tensor

from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.data.subjects import Subject
from lord.seeding import derive_seed
from lord.study.bench import Bench, made_once
from lord.study.profile import MixedAttack, attack_components
from lord.training.lora import remove_adapters


def photographs_of(
    bench: Bench, subject: Subject, seed: int, settings: AttackSettings | None
) -> Tensor:
    """The subject's training photographs, attacked by someone who knows the base model, or clean.

    Shape (N, 3, H, W) in [0, 1].
    """
    clean = subject.photographs(bench.profile.photographs, bench.profile.size)
    if settings is None:
        return clean.images
    prompts = [subject.prompt] * len(clean.images)
    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-{settings.method}"
    return attacked_once(
        bench, name, clean.images, prompts, settings, attack_seeds(seed, len(prompts))
    )


def attack_seeds(seed: int, count: int) -> list[int]:
    """A seed for each of a subject's photographs."""
    return [derive_seed("attack", seed, k) for k in range(count)]


def attacked_once(
    bench: Bench,
    name: str,
    images: Tensor,
    prompts: list[str],
    settings: AttackSettings,
    seeds: list[int],
) -> Tensor:
    """Images after an attack on the base model, whatever adapters the pipeline has, made once.

    Of several attacks that take turns, image k is what the k-th of them makes of it.
    """

    def make() -> Tensor:
        remove_adapters(bench.pipeline)
        if not isinstance(settings, MixedAttack):
            return attack(bench.pipeline, images, prompts, settings, seeds)
        attacked, turns = torch.empty_like(images), len(settings.methods)
        for turn, own in enumerate(settings.attacks()):
            rows = slice(turn, None, turns)
            attacked[rows] = attack(bench.pipeline, images[rows], prompts[rows], own, seeds[rows])
        return attacked

    asked = {"attack": settings.model_dump(mode="json"), "count": len(images)}
    return images_once(bench, name, asked, attack_components(settings), make)


def images_once(
    bench: Bench,
    name: str,
    asked: dict[str, object],
    components: list[str],
    make: Callable[[], Tensor],
) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] as 8-bit files would keep them, made once and kept.

    Args:
        asked, components: what they depend on, see `Bench.shared`.
    """
    path = bench.shared(name, asked, ["step:renderer", *components]).with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # of several processes one works, the others wait
        kept = made_once(path, lambda: {"images": (make() * 255).round().to(torch.uint8)})
    return kept["images"].float() / 255
