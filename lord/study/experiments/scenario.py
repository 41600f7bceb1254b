"""Photographs under circumstances other than the main table's (`profile.Scenario`)."""

import torch
from torch import Tensor

from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.attacks.through_gate import attack_and_close
from lord.attacks.through_purifier import attack_purified
from lord.data.subjects import Subject
from lord.defences.saved import load_defence
from lord.study.bench import Bench
from lord.study.defences import defence_of
from lord.study.photographs import attack_seeds, images_once, photographs_of
from lord.study.profile import TRAINED, attack_components, defence_components
from lord.training.lora import remove_adapters


def scenario_photographs(
    bench: Bench, subject: Subject, seed: int, settings: AttackSettings | None, defence: str
) -> Tensor:
    """The first of the photographs attacked, the share that the scenario says; the others clean."""
    scenario = bench.profile.scenario
    clean = photographs_of(bench, subject, seed, None)
    if settings is None:
        return clean
    if scenario.attacker == "base":
        attacked = photographs_of(bench, subject, seed, settings)
    elif scenario.attacker == "through_diffpure":
        attacked = attacked_through(bench, subject, seed, settings)
    else:
        attacked = attacked_knowingly(bench, subject, seed, settings, defence)
    count = round(scenario.attacked_share * len(clean))
    return torch.cat((attacked[:count], clean[count:]))


def attacked_knowingly(
    bench: Bench, subject: Subject, seed: int, settings: AttackSettings, defence: str
) -> Tensor:
    """The photographs after an attack on the defended model, its stage-1 adapter in place.

    The gradient goes through the gates; a surrogate is trained on top of the adapter, as stage 2
    trains the victim's LoRA.
    """
    profile, pipeline = bench.profile, bench.pipeline
    attacker = profile.scenario.attacker
    clean = photographs_of(bench, subject, seed, None)
    prompts, seeds = [subject.prompt] * len(clean), attack_seeds(seed, len(clean))
    folder = defence_of(bench, subject.domain, defence)
    attacks = {"defended": attack, "closing": attack_and_close}

    def make() -> Tensor:
        remove_adapters(pipeline)
        load_defence(pipeline, folder)
        return attacks[attacker](pipeline, clean, prompts, settings, seeds)

    name = f"{subject.domain}-{subject.index}-seed{seed}-{attacker}"
    asked = profile.model_dump(mode="json", include={*TRAINED[defence], "photographs"})
    asked["attack"] = settings.model_dump(mode="json")
    components = [*attack_components(settings), *defence_components(profile, defence)]
    return images_once(bench, name, asked, [*components, f"attacker:{attacker}"], make)


def attacked_through(bench: Bench, subject: Subject, seed: int, settings: AttackSettings) -> Tensor:
    """The photographs after an attack that looks through DiffPure, made once."""
    clean = photographs_of(bench, subject, seed, None)
    prompts, seeds = [subject.prompt] * len(clean), attack_seeds(seed, len(clean))

    def make() -> Tensor:
        remove_adapters(bench.pipeline)
        return attack_purified(bench.pipeline, clean, prompts, settings, seeds)

    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-through_diffpure"
    asked = {"attack": settings.model_dump(mode="json"), "photographs": len(clean)}
    components = [*attack_components(settings), "attacker:through_diffpure", "purifier:diffpure"]
    return images_once(bench, name, asked, components, make)
