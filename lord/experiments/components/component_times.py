"""At which timesteps, and under which samplers, a component breaks."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from lord.experiments.components.example import made_up
from lord.experiments.components.protocol import Protocol, edit_cell
from lord.experiments.components.tables import paired_table
from lord.names import SCHEDULERS
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section, Table
from lord.study.profile import Profile


class ComponentTimes(Section):
    """What is attacked, and when."""

    components: tuple[str, ...] = Field(
        ("*.residual",), description="of the denoiser, which is called in every step"
    )
    windows: tuple[tuple[float, float], ...] = Field(
        ((0.0, 0.34), (0.34, 0.67), (0.67, 1.0)),
        description="shares of the run, from noise to picture, whose features are attacked",
    )
    schedulers: tuple[Literal[SCHEDULERS], ...] = Field(
        SCHEDULERS, description="samplers, each of which attacks and edits"
    )


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain and component, and each window or sampler."""
    protocol, own = profile["components"], profile["component_times"]
    for domain in protocol.domains:
        for component in own.components:
            for first, last in own.windows:
                steps = f"{first:g}-{last:g}"
                yield _cell(protocol, domain, component, steps, "ddim", (first, last))
            for scheduler in own.schedulers:
                yield _cell(protocol, domain, component, "all", scheduler, (0.0, 1.0))


def _cell(
    protocol: Protocol,
    domain: str,
    component: str,
    steps: str,
    scheduler: str,
    window: tuple[float, float],
) -> Cell:
    coordinates = {"domain": domain, "component": component, "steps": steps}
    also = {
        "window": window,
        "attack_edit": protocol.attack_edit.model_copy(update={"scheduler": scheduler}),
        "edit": protocol.edit.model_copy(update={"scheduler": scheduler}),
    }
    return edit_cell("times", protocol, coordinates | {"scheduler": scheduler}, also)


def measure(context: Context, cell: Cell) -> Outcome:
    """Edits of pictures whose features were attacked in some steps, and the control."""
    from lord.experiments.components.chain.measuring import attacked_once, judge_attack
    from lord.experiments.components.chain.models import editor_of
    from lord.experiments.components.chain.pictures import pictures_of

    settings = cell.settings
    pictures = pictures_of(context, settings, cell["domain"])
    editor = editor_of(context, settings, scheduler=cell["scheduler"])
    asked = {"task": "variation"}
    attacked = attacked_once(
        context, cell, [editor], pictures, cell["component"], asked, window=settings.window
    )
    return judge_attack(context, cell, editor, pictures, attacked)


def example(cell: Cell) -> Outcome:
    """Made-up numbers: attacks on late steps do less."""
    return made_up(cell, 3.0 if cell["steps"].startswith("0.6") else 5.0)


EXPERIMENT = Experiment(
    name="component_times",
    title="at which timesteps and under which samplers a component breaks",
    section=ComponentTimes,
    cells=cells,
    measure=measure,
    example=example,
    tables={"component_times": Table(("component_times",), paired_table)},
    needs=("component_damage",),
)
