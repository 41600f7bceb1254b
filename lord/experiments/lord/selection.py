"""Every test-time treatment on identities that are not evaluated, to choose by."""

from collections.abc import Iterator
from itertools import product

from lord.experiments.lord import example
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.conditions import Place, cells_of, defended, measure
from lord.experiments.lord.protocol import SELECTION_START, TRAINED, treatments_of
from lord.study.experiment import Cell, Experiment
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """Of each trained defence of the main table, behind ACE."""
    protocol, conditions = profile["lord"], profile["main"].conditions
    attack, seed = attack_at(protocol, "ace"), protocol.seeds[0]
    defences = list(filter(TRAINED.get, defended(conditions)))
    for domain, number in product(protocol.domains, range(protocol.selection_subjects)):
        place = Place(domain, "stage1", SELECTION_START + number, seed)
        for defence in defences:
            treatments = treatments_of(protocol, defence)
            yield from cells_of(protocol, place, attack, defence, treatments)


EXPERIMENT = Experiment(
    name="selection",
    title="which treatment of the gate does best on identities that are not evaluated",
    cells=cells,
    measure=measure,
    example=example.condition,
    needs=("stage1",),
)
