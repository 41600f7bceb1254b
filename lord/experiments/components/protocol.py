"""What the experiments on components share: pictures, budget, and how pictures are edited."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from lord.attacks.settings import AttackSettings
from lord.editing.settings import AdaptationSettings, EditSettings
from lord.experiments.lord.budget import Budget
from lord.models.card import EMBEDDED, PIXEL, weights_checksum, weights_of
from lord.names import ADAPTED, DOMAINS, TASKS
from lord.study.experiment import MOST, Cell, Section, Settings

JUDGED = ("metric:edits", "metric:clip_score", "metric:inception_score", "metric:fid")
"""What measures edits."""

SIMILARITIES = ("psnr", "ssim", "ms_ssim")
"""The measures of a pair of edits, which are low where an attack has changed much."""

COMPARED = ("attack", "noise")
"""What is compared with clean pictures: attacked ones, and noise of the attack's energy."""

SHARED = ("model", "size", "pictures", "references", "budget", "attack_edit", "edit")
"""Settings of the protocol that every cell depends on."""

ENTRANCE, EXIT = ("encoder", "quant_conv"), ("post_quant_conv", "decoder")
"""Components of the autoencoder, before and after the denoiser."""


class Protocol(Section):
    """The section ``components`` of a profile."""

    model: str = Field("embedded", description="'embedded' or a diffusers folder")
    pixel_model: str = Field("embedded", description="'embedded' or an unconditional folder")
    pixel_domain: Literal[DOMAINS] = Field("portraits", description="all that this one draws")
    size: int = Field(64, ge=16, le=2048, multiple_of=8, description="side of the pictures")
    domains: tuple[Literal[DOMAINS], ...] = Field(DOMAINS, min_length=1)
    tasks: tuple[Literal[TASKS], ...] = Field(("variation",), min_length=1)
    pictures: int = Field(ge=2, le=MOST, description="that are attacked in each domain")
    references: int = Field(
        256, ge=2, le=MOST, description="clean pictures that edits are compared with"
    )
    budget: Budget = Budget(eps_levels=8, step_levels=1.5, steps=10)
    attack_edit: EditSettings = Field(
        EditSettings(steps=6, guidance_scale=3.0), description="of pictures under attack"
    )
    edit: EditSettings = Field(
        EditSettings(guidance_scale=3.0), description="of pictures that have been attacked"
    )
    editing: AdaptationSettings = Field(
        AdaptationSettings(), description="how the model learns tasks, where it has not yet"
    )


def uses(task: str, component: str) -> bool:
    """Whether a task runs a component at all, or one of those that a pattern stands for."""
    if task == "super-resolution":
        return component not in ENTRANCE
    if task == "reconstruction":
        return component in (*ENTRANCE, *EXIT)
    return True


def attack_settings(budget: Budget, component: str) -> AttackSettings:
    """The attack on a component within a budget."""
    return AttackSettings(
        component=component,
        eps=budget.eps_levels / 255,
        step_size=budget.step_levels / 255,
        steps=budget.steps,
    )


def edit_cell(
    experiment: str,
    protocol: Protocol,
    coordinates: Mapping[str, Any],
    also: Mapping[str, Any] | None = None,
    components: tuple[str, ...] = (),
) -> Cell:
    """The cell of an experiment that attacks pictures and judges their edits.

    Args:
        coordinates: where it lies, with the domain; the task is variation unless it is among them.
        also: settings beside those of the protocol.
        components: what takes part beside renderer, attack, edit and measures.
    """
    task = coordinates.get("task", "variation")
    settings = Settings.of(protocol, *SHARED).also(weights=weights_of(protocol.model, judged=True))
    taking_part = ["step:renderer", "step:edit", "attacker:component", *JUDGED, *components]
    if task in ADAPTED:
        learned = weights_checksum(str(learned_beside(protocol.model, task)))
        how = {"learned": learned} if learned else {"editing": protocol.editing}
        settings = settings.also(**how)
        taking_part.append("step:adaptation")
    name = "-".join(str(value).replace("*.", "all.") for value in coordinates.values())
    return Cell(
        f"{experiment}-{name}",
        dict(coordinates),
        settings.also(**(also or {})),
        tuple(dict.fromkeys(taking_part)),
    )


def learned_beside(model: str, task: str) -> Path:
    """Where what a model has learned for a task comes with it; there may be no such folder."""
    folder = EMBEDDED if model == "embedded" else Path(model)
    return folder.parent / "editing" / task


def pixel_settings(protocol: Protocol) -> dict[str, str]:
    """What a cell depends on that the model in pixel space takes part in."""
    return {
        "pixel_model": protocol.pixel_model,
        "pixel_weights": weights_checksum(protocol.pixel_model, PIXEL),
    }
