"""Whether dearer attacks than those of the main table would have found more."""

from collections.abc import Iterator
from itertools import product

from pydantic import Field, PositiveInt

from lord.attacks.evasion.settings import Evasion, Threat
from lord.experiments.purification.outcome import attacked_outcome, made_up_steps
from lord.experiments.purification.protocol import Defence, defence_cell
from lord.experiments.purification.tables import attack_table
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section, Table
from lord.study.profile import Profile


class Converged(Section):
    """The whole protocol, and on what."""

    defences: tuple[Defence, ...] = (Defence(classifier="residual", purifier="robust"),)
    images: PositiveInt = 32
    threat: Threat = Threat()
    whole: tuple[Evasion, ...] = Field(
        (Evasion(method="pgd"),), description="on what the attacks of the main table leave"
    )


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each task and each defence."""
    protocol, own = profile["purification"], profile["purification_converged"]
    for task, defence in product(protocol.models, own.defences):
        protocol.check(defence)
        attacks = (*protocol.attacks_on(defence, own.threat), *own.whole)
        yield defence_cell(
            "purification_converged", protocol, task, defence, own.threat, attacks, own.images
        )


def measure(context: Context, cell: Cell) -> Outcome:
    """As in ``purification_attacks``: the steps after its attacks should take next to nothing."""
    return attacked_outcome(context, cell.settings)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    return made_up_steps(cell)


EXPERIMENT = Experiment(
    name="purification_converged",
    title="whether dearer attacks would have found more",
    section=Converged,
    cells=cells,
    measure=measure,
    example=example,
    needs=("purification_attacks",),
    tables={"purification_converged": Table(("purification_converged",), attack_table)},
)
