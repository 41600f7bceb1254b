"""What helps against attacks on components."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import Field, field_validator

from lord.experiments.components.example import made_up
from lord.experiments.components.protocol import edit_cell, pixel_settings
from lord.experiments.components.siblings import SIBLINGS, Sibling, Training
from lord.experiments.components.tables import paired_table
from lord.experiments.lord.cells import defence_components
from lord.experiments.lord.protocol import PROPOSED, TRAINED
from lord.experiments.sheet import made_up as made_up_sheet
from lord.names import IN_PIXELS, PURIFIERS
from lord.record import Record
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section, Table
from lord.study.profile import Profile

PIXEL_DIFFPURE, PROMPT, MODELS = "pixel_diffpure", "prompt", "ensemble"
"""DiffPure by the model in pixels, in ten steps on smaller pictures; random prompts; and the mean
prediction of two denoisers."""

FURTHER = tuple(name for name in PURIFIERS if name not in IN_PIXELS)

DEFENCES = ("none", PROMPT, MODELS, PIXEL_DIFFPURE, PROPOSED, *FURTHER)


class ComponentDefences(Section):
    """What is tried against which attack."""

    component: str = "*.residual"
    defences: tuple[Literal[DEFENCES], ...] = (
        "none",
        PROMPT,
        MODELS,
        "jpeg",
        "total_variation",
        "blur",
        "diffpure",
        PIXEL_DIFFPURE,
        PROPOSED,
    )
    partner: Sibling = Field(
        SIBLINGS["encoder"], description="whose denoiser takes part in the ensemble"
    )
    training: Training = Training()

    @field_validator("defences")
    @classmethod
    def _beside_none(cls, defences: tuple[str, ...]) -> tuple[str, ...]:
        if "none" not in defences or len(set(defences)) < 2:
            raise ValueError("expected none, and others to compare with it")
        return defences


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain and defence."""
    protocol, own = profile["components"], profile["component_defences"]
    for domain in protocol.domains:
        for defence in own.defences:
            also: dict = {"component": own.component}
            components: tuple[str, ...] = ()
            if defence in FURTHER:
                components = (f"purifier:{defence}",)
            elif defence == MODELS:
                also |= {"siblings": {MODELS: own.partner}, "training": own.training}
                components = ("step:pretraining",)
            elif defence == PIXEL_DIFFPURE:
                if domain != protocol.pixel_domain:
                    continue
                also |= pixel_settings(protocol)
            elif defence == PROPOSED:
                lord = profile["lord"]
                also |= {name: getattr(lord, name) for name in TRAINED[PROPOSED]}
                components = tuple(defence_components(lord, PROPOSED))
            coordinates = {"domain": domain, "defence": defence}
            cell = edit_cell("defended", protocol, coordinates, also, components)
            if defence == PROPOSED:
                cell = cell.with_settings(profile["lord"], "memory", "batch_size")
            yield cell


def measure(context: Context, cell: Cell) -> Outcome:
    """Edits of attacked pictures behind a defence, against undefended edits of clean ones.

    ``defended/…`` is what the defence does to edits of clean pictures.
    """
    from lord.experiments.components.chain.defences import defended

    return defended(context, cell)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    outcome = made_up(cell, 5.0 if cell["defence"] == "none" else 2.0)
    metrics = outcome.metrics | {"defended/psnr": 24.0}
    return Outcome(metrics, outcome.series, made_up_sheet(cell.name, 4, 8))


def by_domain(records: Iterable[Record]) -> dict[str, dict[str, Record]]:
    """The record of each defence, by domain; of other experiments none."""
    found: dict[str, dict[str, Record]] = {}
    for record in records:
        if record.kind == "component_defences":
            found.setdefault(record.settings["domain"], {})[record.settings["defence"]] = record
    return found


def best(found: Mapping[str, Record]) -> str:
    """The defence behind which edits of attacked pictures are nearest to those of clean ones."""
    tried = {name: record.metrics["attack/psnr"] for name, record in found.items()}
    tried.pop("none", None)
    return max(tried, key=tried.__getitem__)


def kept(records: Sequence[Record]) -> list[Record]:
    """The pictures without a defence and behind the best, for each domain."""
    return [found[name] for found in by_domain(records).values() for name in ("none", best(found))]


EXPERIMENT = Experiment(
    name="component_defences",
    title="what helps against attacks on components",
    section=ComponentDefences,
    cells=cells,
    measure=measure,
    example=example,
    tables={"component_defences": Table(("component_defences",), paired_table)},
    needs=("component_damage", "component_transfer"),
    kept=kept,
)
