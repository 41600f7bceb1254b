"""Which component of a latent diffusion model breaks, for each task of editing."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field, model_validator

from lord.experiments.components.example import made_up
from lord.experiments.components.protocol import edit_cell, uses
from lord.experiments.components.tables import lead, paired_table
from lord.names import TASKS
from lord.record import Record
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section, Table
from lord.study.profile import Profile


class ComponentDamage(Section):
    """Which components are attacked."""

    components: dict[Literal[TASKS], tuple[str, ...]] = Field(
        description="for each task names, beginnings of names or patterns, see `lord components`"
    )

    @model_validator(mode="after")
    def _run(self) -> "ComponentDamage":
        for task, components in self.components.items():
            if idle := [name for name in components if not uses(task, name)]:
                raise ValueError(f"components: {task} runs no {idle[0]}")
        return self


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain, task and component."""
    protocol, own = profile["components"], profile["component_damage"]
    for domain in protocol.domains:
        for task, components in own.components.items():
            for component in components:
                coordinates = {"domain": domain, "task": task, "component": component}
                yield edit_cell("component", protocol, coordinates)


def measure(context: Context, cell: Cell) -> Outcome:
    """Edits of pictures whose features in one component were attacked, and the control."""
    from lord.experiments.components.chain.measuring import attacked_once, judge_attack
    from lord.experiments.components.chain.models import editor_of
    from lord.experiments.components.chain.pictures import pictures_of

    settings, task = cell.settings, cell["task"]
    attackers = [editor_of(context, settings, task, settings.attack_edit.scheduler)]
    factor = attackers[0].pipeline.vae_scale_factor
    pictures = pictures_of(context, settings, cell["domain"], task, factor)
    attacked = attacked_once(context, cell, attackers, pictures, cell["component"], {"task": task})
    editor = editor_of(context, settings, task, settings.edit.scheduler)
    return judge_attack(context, cell, editor, pictures, attacked)


def example(cell: Cell) -> Outcome:
    """Made-up numbers: residual blocks break most."""
    name = cell["component"]
    return made_up(cell, 6.0 if "residual" in name else 4.0 if name == "encoder" else 1.0)


def kept(records: list[Record]) -> list[Record]:
    """The pictures of the components that break most and least, for each domain and task."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.kind == "component_damage":
            place = (record.settings["domain"], record.settings["task"])
            found.setdefault(place, []).append(record)
    chosen = []
    for group in found.values():
        group.sort(key=lead)
        chosen += {record.name: record for record in (group[0], group[-1])}.values()
    return chosen


EXPERIMENT = Experiment(
    name="component_damage",
    title="which component of a latent diffusion model breaks",
    section=ComponentDamage,
    cells=cells,
    measure=measure,
    example=example,
    tables={
        "components": Table(("component_damage",), paired_table, also=("encoder_or_denoiser",))
    },
    kept=kept,
)
