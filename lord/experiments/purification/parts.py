"""What each part of a purifier does, and how t* trades accuracy for robustness."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from pydantic import Field, PositiveInt

from lord.attacks.evasion.settings import Evasion, Threat
from lord.experiments.purification.outcome import attacked_outcome, made_up_steps
from lord.experiments.purification.protocol import Defence, Protocol, defence_cell
from lord.experiments.purification.tables import attack_table
from lord.purifiers.settings import PixelPurifier
from lord.settings_file import settings_of
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Name, Outcome, Section, Table
from lord.study.profile import Profile


class Variant(Section):
    """A purifier of the protocol with some settings changed."""

    purifier: str
    changes: dict[str, Any] = Field({}, description="of its settings")


class Parts(Section):
    """Which variants are attacked, and how."""

    classifier: str = "residual"
    images: PositiveInt = 64
    threat: Threat = Threat()
    timesteps: dict[str, tuple[int, ...]] = Field({}, description="by purifier, each t* tried")
    variants: dict[Name, Variant] = Field({}, description="by name")
    attacks: tuple[Evasion, ...] = (Evasion(method="pgd", steps=20, draws=4, step_size=0.15),)


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each task, each t* and each variant."""
    protocol, own = profile["purification"], profile["purification_parts"]
    variants = {
        f"{purifier},t={timestep}": Variant(purifier=purifier, changes={"timestep": timestep})
        for purifier, timesteps in own.timesteps.items()
        for timestep in timesteps
    }
    for task, (name, variant) in product(protocol.models, (variants | own.variants).items()):
        defence = Defence(classifier=own.classifier, purifier=variant.purifier)
        protocol.check(defence)
        yield defence_cell(
            "purification_parts",
            protocol,
            task,
            defence,
            own.threat,
            own.attacks,
            own.images,
            changed(protocol, name, variant),
            name,
        )


def changed(protocol: Protocol, name: str, variant: Variant) -> PixelPurifier:
    """The purifier of a variant."""
    given = protocol.purifiers[variant.purifier].model_dump() | variant.changes
    return settings_of(PixelPurifier, given, f"purification_parts.variants.{name}.changes")


def measure(context: Context, cell: Cell) -> Outcome:
    """Accuracy before and after each attack, as in ``purification_attacks``."""
    return attacked_outcome(context, cell.settings)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    return made_up_steps(cell)


EXPERIMENT = Experiment(
    name="purification_parts",
    title="what each part of a purifier does, and how t* trades accuracy for robustness",
    section=Parts,
    cells=cells,
    measure=measure,
    example=example,
    needs=("classifiers",),
    tables={"purification_parts": Table(("purification_parts",), attack_table)},
)
