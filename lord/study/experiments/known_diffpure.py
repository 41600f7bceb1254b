"""A cell of the results where the attacker knows of DiffPure (`lord.attacks.through_purifier`).

Apart from `scenario`, so that what is measured there does not depend on this attack.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lord.attacks.settings import AttackSettings
from lord.attacks.through_purifier import attack_purified
from lord.data.subjects import Subject
from lord.seeding import derive_seed
from lord.study.bench import ATTACKING, Bench, Outcome, made_once
from lord.study.experiments.scenario import Photographed, measure_scenario
from lord.study.photographs import photographs_of
from lord.training.lora import remove_adapters


def measure_known_diffpure(
    bench: Bench,
    subject: Subject,
    seed: int,
    attack: AttackSettings,
    defence: str,
    treatments: Sequence[str],
) -> Iterable[tuple[str, Outcome]]:
    """As `measure_scenario`, on photographs attacked through DiffPure."""
    clean = photographs_of(bench, subject, seed, None)
    attacked = attacked_through(bench, subject, seed, attack)
    count = round(bench.profile.scenario.attacked_share * len(clean))
    images = torch.cat((attacked[:count], clean[count:]))
    ssim = structural_similarity_index_measure(images, clean, data_range=1.0).item()
    photographed = Photographed(subject.domain, subject.split, subject.index, images)
    outcomes = measure_scenario(bench, photographed, seed, None, defence, treatments)
    for treatment, outcome in outcomes:
        yield treatment, replace(outcome, metrics=outcome.metrics | {"ssim": ssim})


def attacked_through(bench: Bench, subject: Subject, seed: int, settings: AttackSettings) -> Tensor:
    """The photographs after an attack that looks through DiffPure, made once."""
    clean = photographs_of(bench, subject, seed, None)
    prompts = [subject.prompt] * len(clean)
    seeds = [derive_seed("attack", seed, k) for k in range(len(clean))]

    def make() -> dict[str, Tensor]:
        remove_adapters(bench.pipeline)
        attacked = attack_purified(bench.pipeline, clean, prompts, settings, seeds)
        return {"images": (attacked * 255).round().to(torch.uint8)}

    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-through_diffpure"
    asked = {"attack": settings.model_dump(mode="json"), "photographs": len(clean)}
    modules = (*ATTACKING, "lord.attacks.through_purifier", "lord.purification", __name__)
    path = bench.shared(name, asked, modules)
    return made_once(path.with_suffix(".safetensors"), make)["images"].float() / 255
