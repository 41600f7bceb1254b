"""Attacks on LoRAs without a defence: all at equal budgets, and how long ACE runs."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from lord.attacks.settings import NOISE
from lord.experiments.lord.conditions import Place, cells_of, check_places, measure, tabulated
from lord.experiments.lord.protocol import attack_at
from lord.names import ATTACKS
from lord.record import Record
from lord.study.experiment import Cell, Experiment, Section, Table
from lord.study.profile import Profile

ROUNDS = 5
"""Rounds among which the gradient steps are shared where ACE has a surrogate."""


class Damage(Section):
    """Which attacks are compared, at which budgets, and on whom."""

    attacks: tuple[Literal[(*ATTACKS,)], ...]
    eps_levels: tuple[PositiveFloat, ...] = Field(description="budgets, in grey levels of 255")
    subjects: tuple[int, ...]
    seeds: tuple[int, ...]

    @field_validator("attacks")
    @classmethod
    def _controlled(cls, attacks: tuple[str, ...]) -> tuple[str, ...]:
        if NOISE not in attacks:
            raise ValueError(f"the attacks must include {NOISE!r}, the control")
        return attacks


def cells_of_damage(profile: Profile) -> Iterator[Cell]:
    """What the main table has is not planned again."""
    protocol, own = profile["lord"], profile["damage"]
    check_places("damage", own, protocol)
    usual = protocol.budget.eps_levels
    if usual not in own.eps_levels:
        raise ValueError("damage.eps_levels: that of the budget must be among them")
    measured = [a for a, names in profile["main"].conditions.items() if "none" in names]
    for domain, index, seed in product(protocol.domains, own.subjects, own.seeds):
        place = Place(domain, "evaluation", index, seed)
        for method, levels in product(own.attacks, own.eps_levels):
            if levels == usual and method in measured:
                continue
            label = "" if levels == usual else f"-eps{levels:g}"
            attack = attack_at(protocol, method, levels)
            yield from cells_of(protocol, place, attack, "none", ("none",), label)


def shown(records: Sequence[Record]) -> Sequence[Record]:
    """The pictures of each attack at the budget, of the first subject and seed."""
    main = [r.settings for r in records if r.kind == "main"]
    eps = next(own["attack"]["eps"] for own in main if "attack" in own)
    first = {name: main[0][name] for name in ("subject", "seed")} if main else {}
    return [
        record
        for record in records
        if record.kind == "damage"
        and first.items() <= record.settings.items()
        and record.settings["attack"]["eps"] == eps
    ]


DAMAGE = Experiment(
    name="damage",
    title="what attacks do at equal budgets",
    section=Damage,
    cells=cells_of_damage,
    measure=measure,
    tables={"attacks": Table(("main", "damage", "steps"), tabulated("attack_table"))},
    kept=shown,
)


class Steps(Section):
    """How many steps, and on whom."""

    steps: tuple[PositiveInt, ...]
    subjects: tuple[int, ...]
    seeds: tuple[int, ...]


def cells_of_steps(profile: Profile) -> Iterator[Cell]:
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


STEPS = Experiment(
    name="steps",
    title="how many gradient steps ACE needs, and whether surrogates add to it",
    section=Steps,
    cells=cells_of_steps,
    measure=measure,
)
