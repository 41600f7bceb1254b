"""What is left of classifiers behind purifiers, attack by attack."""

from collections.abc import Iterator
from itertools import product

from lord.experiments.purification.outcome import attacked_outcome, made_up_steps
from lord.experiments.purification.protocol import defence_cell
from lord.experiments.purification.tables import defence_table
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Table
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each task, each defence and each threat."""
    protocol = profile["purification"]
    for task, defence, threat in product(protocol.models, protocol.defences, protocol.threats):
        attacks = protocol.attacks_on(defence, threat)
        yield defence_cell("purification_attacks", protocol, task, defence, threat, attacks)


def measure(context: Context, cell: Cell) -> Outcome:
    """Accuracy before and after each attack, as the worst of several purifications and by vote."""
    return attacked_outcome(context, cell.settings)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    return made_up_steps(cell)


EXPERIMENT = Experiment(
    name="purification_attacks",
    title="what is left of classifiers behind purifiers, attack by attack",
    cells=cells,
    measure=measure,
    example=example,
    needs=("classifiers",),
    tables={
        "purification": Table(("purification_attacks",), defence_table),
    },
)
