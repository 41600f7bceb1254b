"""Photographs under circumstances other than the main table's (`protocol.Scenario`)."""

import torch
from torch import Tensor

from lord.attacks.pgd import attack
from lord.attacks.settings import AttackSettings
from lord.attacks.through_gate import attack_and_close
from lord.attacks.through_purifier import attack_purified
from lord.defences.saved import load_defence
from lord.experiments.lord.budget import attack_components
from lord.experiments.lord.chain.defences import defence_of
from lord.experiments.lord.chain.model import base_pipeline
from lord.experiments.lord.chain.photographs import attack_seeds, images_once, photographs_of
from lord.experiments.lord.chain.subjects import Shown
from lord.experiments.lord.protocol import TRAINED, Scenario
from lord.study.context import Context
from lord.study.experiment import Settings

KNOWING = {"defended": attack, "closing": attack_and_close, "through_diffpure": attack_purified}
"""How those who know the defence attack."""


def scenario_photographs(
    context: Context,
    settings: Settings,
    subject: Shown,
    seed: int,
    attacked: AttackSettings | None,
    defence: str,
) -> Tensor:
    """The first of the photographs attacked, the share that the scenario says; the others clean."""
    scenario = settings.values.get("scenario", Scenario())
    attacker = scenario.attacker
    if attacked is None or attacker == "base":
        images = photographs_of(context, settings, subject, seed, attacked)
    else:
        images = attacked_knowingly(context, settings, subject, seed, attacked, defence, attacker)
    clean = photographs_of(context, settings, subject, seed, None)
    count = round(scenario.attacked_share * len(clean))
    return torch.cat((images[:count], clean[count:]))


def attacked_knowingly(
    context: Context,
    settings: Settings,
    subject: Shown,
    seed: int,
    attacked: AttackSettings,
    defence: str,
    attacker: str,
) -> Tensor:
    """The photographs after an attack by someone who knows the defence, made once.

    Of a trained defence the stage-1 adapter is in place: the gradient goes through the gates, and a
    surrogate is trained on top of the adapter, as stage 2 trains the victim's LoRA. Who knows of
    DiffPure attacks the base model through it.
    """
    clean = photographs_of(context, settings, subject, seed, None)
    prompts, seeds = [subject.prompt] * len(clean), attack_seeds(seed, len(clean))
    components = [*attack_components(attacked), f"attacker:{attacker}"]
    asked = {"attack": attacked.model_dump(mode="json"), "photographs": len(clean)}
    folder = None
    if defence in TRAINED:
        folder = defence_of(context, settings, subject.domain, defence)
        asked["defence"] = folder.name
    else:
        components.append(f"purifier:{defence}")

    def make() -> Tensor:
        pipeline = base_pipeline(context, settings)
        if folder:
            load_defence(pipeline, folder)
        return KNOWING[attacker](pipeline, clean, prompts, attacked, seeds, settings.batch_size)

    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-{attacker}"
    return images_once(context, settings, name, asked, components, make)
