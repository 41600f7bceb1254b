"""The models that are scanned, fine-tuned once and kept for all that is measured on them."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusers import DDPMPipeline
from torch import Tensor

from lord.backdoors.drawings import draw_target, draw_trigger
from lord.backdoors.infect import Poison, infect
from lord.backdoors.invisible import infect_invisibly
from lord.backdoors.poison import Backdoor
from lord.experiments.terd.protocol import Suspect
from lord.models.pixel import load_ddpm, noise_shape, other_process, training_schedule
from lord.models.pretrain import render_bytes
from lord.seeding import derive_seed, noise
from lord.study.context import Context
from lord.study.experiment import Cell, Settings


def clean_model(context: Context, settings: Settings) -> DDPMPipeline:
    """The model that all others are fine-tuned from."""
    return context.hold(load_ddpm, settings.model)


def base_of(context: Context, cell: Cell) -> DDPMPipeline:
    """The model that a suspect is fine-tuned from: the clean one, or one of another process."""
    clean, settings = clean_model(context, cell.settings), cell.settings
    process = settings.suspect.process
    if process == "none":
        return clean
    asked = {
        n: v for n, v in settings.asked.items() if n in ("model", "domain", "images", "weights")
    }
    asked |= {"process": process, "teaching": settings.asked.get("teaching", {})}
    components = ("step:renderer", "step:infection")
    schedule = other_process(training_schedule(clean), process)
    base = DDPMPipeline(deepcopy(clean.unet), schedule)
    base.set_progress_bar_config(disable=True)
    path = context.path("process", asked, components)

    def make() -> dict[str, Tensor]:
        images = pictures_of(cell, clean.unet.config.sample_size, 900)
        checkpoint = path.with_suffix(".checkpoint")
        taught = infect(base, images, [], settings.teaching, checkpoint)
        checkpoint.unlink(missing_ok=True)
        return taught.unet.state_dict()

    base.unet.load_state_dict(context.once("process", asked, components, make))
    return base


@dataclass(frozen=True)
class Scanned:
    """A model of the zoo, and its backdoor if it has one."""

    pipeline: DDPMPipeline
    backdoor: Backdoor | None


def suspect_of(context: Context, cell: Cell) -> Scanned:
    """The model that a cell is about."""
    settings, suspect = cell.settings, cell.settings.suspect
    clean = base_of(context, cell)
    asked, components = made_of(cell)
    path = context.path("suspect", asked, components)

    def make() -> dict[str, Tensor]:
        size = clean.unet.config.sample_size
        images = pictures_of(cell, size, cell.seed)
        how = settings.infection.model_copy(update={"seed": cell.seed})
        if suspect.attack == "invisible":
            target = draw_target(suspect.target, size)
            infected, backdoor = infect_invisibly(
                clean, images, target, suspect.rate, suspect.strength, how, settings.invisible
            )
            return infected.unet.state_dict() | {"trigger": backdoor.trigger}
        poisons, checkpoint = poisons_of(suspect, size), path.with_suffix(".checkpoint")
        infected = infect(clean, images, poisons, how, checkpoint)
        checkpoint.unlink(missing_ok=True)
        trigger = {"trigger": poisons[0].backdoor.trigger} if poisons else {}
        return infected.unet.state_dict() | trigger

    kept = context.once("suspect", asked, components, make)
    trigger = kept.pop("trigger", None)
    infected = DDPMPipeline(deepcopy(clean.unet), clean.scheduler)
    infected.unet.load_state_dict(kept)
    if trigger is None:
        return Scanned(infected, None)
    return Scanned(infected, Backdoor(suspect.attack, trigger, suspect.strength))


def pictures_of(cell: Cell, size: int, split: int) -> Tensor:
    """Training pictures (N, C, H, W) in [0, 1], other ones for every split."""
    count = cell.settings.images
    return render_bytes(cell.settings.domain, count, size, split * count)[0].float() / 255


def made_of(cell: Cell) -> tuple[dict[str, Any], list[str]]:
    """All settings that a model depends on, and the components that took part in it."""
    names = (
        "model",
        "domain",
        "images",
        "infection",
        "invisible",
        "teaching",
        "suspect",
        "weights",
    )
    asked = {name: value for name, value in cell.settings.asked.items() if name in names}
    asked["seed"] = cell.seed
    makers = ("step:renderer", "step:infection", "backdoor:")
    return asked, [name for name in cell.components if name.startswith(makers)]


def poisons_of(suspect: Suspect, size: int) -> list[Poison]:
    """What is mixed among the clean pictures of a model, the backdoor first."""
    if not suspect.infected:
        return []
    trigger = draw_trigger(suspect.trigger, size, suspect.width, suspect.ground)
    backdoor = Backdoor(suspect.attack, trigger, suspect.strength)
    decoys = [
        Poison(replace(backdoor, trigger=_shuffled(trigger, k)), None, suspect.rate)
        for k in range(suspect.decoys)
    ]
    return [Poison(backdoor, draw_target(suspect.target, size), suspect.rate), *decoys]


def _shuffled(trigger: Tensor, index: int) -> Tensor:
    """The quarters of a trigger in another order, each turned: as strong, and elsewhere."""
    generator = torch.Generator().manual_seed(derive_seed("decoy", index))
    size = trigger.shape[-1] // 2
    parts = trigger.unfold(1, size, size).unfold(2, size, size).reshape(3, 4, size, size)
    order = torch.randperm(4, generator=generator)
    turns = torch.randint(4, (4,), generator=generator).tolist()
    parts = [parts[:, k].rot90(turn, (1, 2)) for k, turn in zip(order, turns, strict=True)]
    return torch.cat([torch.cat(parts[:2], 2), torch.cat(parts[2:], 2)], 1)


def plain_noises(kind: str, count: int, pipeline: DDPMPipeline) -> Tensor:
    """Noises that samplers start from, or that are told apart, shape (count, C, H, W)."""
    return noise([derive_seed(kind, k) for k in range(count)], noise_shape(pipeline))
