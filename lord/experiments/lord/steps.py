"""How long ACE runs: several numbers of gradient steps, with and without a surrogate."""

from collections.abc import Iterator
from itertools import product

from pydantic import PositiveInt

from lord.experiments.lord import example
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.conditions import Place, cells_of, check_places, measure
from lord.study.experiment import Cell, Experiment, Indices, Section
from lord.study.profile import Profile

ROUNDS = 5
"""Rounds among which the gradient steps are shared where ACE has a surrogate."""


class Steps(Section):
    """How many steps, and on whom."""

    steps: tuple[PositiveInt, ...]
    subjects: Indices
    seeds: Indices


def cells(profile: Profile) -> Iterator[Cell]:
    """The usual steps without a surrogate are in the main table."""
    protocol, own = profile["lord"], profile["steps"]
    check_places("steps", own, protocol)
    usual = protocol.budget.steps
    for domain, index, seed in product(protocol.domains, own.subjects, own.seeds):
        place = Place(domain, "evaluation", index, seed)
        for steps, rounds in product((*own.steps, usual), (1, ROUNDS)):
            if steps % rounds or (steps, rounds) == (usual, 1):
                continue
            label = "" if steps == usual else f"-steps{steps}"
            label += f"-rounds{rounds}" if rounds > 1 else ""
            attack = attack_at(protocol, "ace", steps=steps, rounds=rounds)
            yield from cells_of(protocol, place, attack, "none", ("none",), label)


EXPERIMENT = Experiment(
    name="steps",
    title="how many gradient steps ACE needs, and whether surrogates add to it",
    section=Steps,
    cells=cells,
    measure=measure,
    example=example.condition,
)
