"""Attacks at equal budgets, on LoRAs without a defence."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal

from pydantic import Field, PositiveFloat, field_validator

from lord.attacks.settings import NOISE
from lord.experiments.lord import example
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.conditions import Place, cells_of, check_places, measure, tabulated
from lord.names import ATTACKS
from lord.record import Record
from lord.study.experiment import Cell, Experiment, Indices, Section, Table
from lord.study.profile import Profile


class Damage(Section):
    """Which attacks are compared, at which budgets, and on whom."""

    attacks: tuple[Literal[(*ATTACKS,)], ...]
    eps_levels: tuple[PositiveFloat, ...] = Field(description="budgets, in grey levels of 255")
    subjects: Indices
    seeds: Indices

    @field_validator("attacks")
    @classmethod
    def _controlled(cls, attacks: tuple[str, ...]) -> tuple[str, ...]:
        if NOISE not in attacks:
            raise ValueError(f"the attacks must include {NOISE!r}, the control")
        return attacks


def cells(profile: Profile) -> Iterator[Cell]:
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


EXPERIMENT = Experiment(
    name="damage",
    title="what attacks do at equal budgets",
    section=Damage,
    cells=cells,
    measure=measure,
    example=example.condition,
    tables={"attacks": Table(("main", "damage", "steps"), tabulated("attack_table"))},
    kept=shown,
)
