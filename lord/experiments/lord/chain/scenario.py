"""Photographs under circumstances other than the main table's (`protocol.Scenario`)."""

import torch
from torch import Tensor

from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.attacks.through_gate import attack_and_close
from lord.attacks.through_purifier import attack_purified
from lord.data.subjects import Subject
from lord.defences.saved import load_defence
from lord.experiments.lord.chain.defences import defence_of
from lord.experiments.lord.chain.model import base_pipeline
from lord.experiments.lord.chain.photographs import attack_seeds, images_once, photographs_of
from lord.experiments.lord.protocol import TRAINED, Scenario, attack_components, defence_components
from lord.study.context import Context
from lord.study.experiment import Settings


def scenario_photographs(
    context: Context,
    settings: Settings,
    subject: Subject,
    seed: int,
    attacked: AttackSettings | None,
    defence: str,
) -> Tensor:
    """The first of the photographs attacked, the share that the scenario says; the others clean."""
    scenario = settings.values.get("scenario", Scenario())
    if attacked is None or scenario.attacker == "base":
        images = photographs_of(context, settings, subject, seed, attacked)
    elif scenario.attacker == "through_diffpure":
        images = attacked_through(context, settings, subject, seed, attacked)
    else:
        attacker = scenario.attacker
        images = attacked_knowingly(context, settings, subject, seed, attacked, defence, attacker)
    clean = photographs_of(context, settings, subject, seed, None)
    count = round(scenario.attacked_share * len(clean))
    return torch.cat((images[:count], clean[count:]))


def attacked_knowingly(
    context: Context,
    settings: Settings,
    subject: Subject,
    seed: int,
    attacked: AttackSettings,
    defence: str,
    attacker: str,
) -> Tensor:
    """The photographs after an attack on the defended model, its stage-1 adapter in place.

    The gradient goes through the gates; a surrogate is trained on top of the adapter, as stage 2
    trains the victim's LoRA.
    """
    clean = photographs_of(context, settings, subject, seed, None)
    prompts, seeds = [subject.prompt] * len(clean), attack_seeds(seed, len(clean))
    folder = defence_of(context, settings, subject.domain, defence)
    attacks = {"defended": attack, "closing": attack_and_close}

    def make() -> Tensor:
        pipeline = base_pipeline(context, settings)
        load_defence(pipeline, folder)
        return attacks[attacker](pipeline, clean, prompts, attacked, seeds)

    name = f"{subject.domain}-{subject.index}-seed{seed}-{attacker}"
    training, data = (getattr(settings, name) for name in TRAINED[defence])
    asked = {"training": training.model_dump(mode="json"), "data": data.model_dump(mode="json")}
    asked |= {"attack": attacked.model_dump(mode="json"), "photographs": len(clean)}
    components = [*attack_components(attacked), *defence_components(settings, defence)]
    components.append(f"attacker:{attacker}")
    return images_once(context, settings, name, asked, components, make)


def attacked_through(
    context: Context, settings: Settings, subject: Subject, seed: int, attacked: AttackSettings
) -> Tensor:
    """The photographs after an attack that looks through DiffPure, made once."""
    clean = photographs_of(context, settings, subject, seed, None)
    prompts, seeds = [subject.prompt] * len(clean), attack_seeds(seed, len(clean))

    def make() -> Tensor:
        pipeline = base_pipeline(context, settings)
        return attack_purified(pipeline, clean, prompts, attacked, seeds)

    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-through_diffpure"
    asked = {"attack": attacked.model_dump(mode="json"), "photographs": len(clean)}
    components = [*attack_components(attacked), "attacker:through_diffpure", "purifier:diffpure"]
    return images_once(context, settings, name, asked, components, make)
