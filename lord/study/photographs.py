"""The photographs of the study after an attack, each set made once."""

import torch
from torch import Tensor

from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.data.subjects import Subject
from lord.seeding import derive_seed
from lord.study.bench import ATTACKING, Bench, made_once
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
    seeds = [derive_seed("attack", seed, k) for k in range(len(prompts))]
    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-{settings.method}"
    return attacked_once(bench, name, clean.images, prompts, settings, seeds)


def attacked_once(
    bench: Bench,
    name: str,
    images: Tensor,
    prompts: list[str],
    settings: AttackSettings,
    seeds: list[int],
) -> Tensor:
    """Images after an attack on the base model, whatever adapters the pipeline has, made once."""

    def make() -> dict[str, Tensor]:
        remove_adapters(bench.pipeline)
        attacked = attack(bench.pipeline, images, prompts, settings, seeds)
        return {"images": (attacked * 255).round().to(torch.uint8)}

    asked = {"attack": settings.model_dump(mode="json"), "count": len(images)}
    path = bench.shared(name, asked, ATTACKING).with_suffix(".safetensors")
    return made_once(path, make)["images"].float() / 255
