"""Whether what the main table found holds for people and places that it has not seen.

The main table screens many defences on few subjects. Here few are tried on many new ones, each
with one seed, so that cells are independent. Stage 1 is trained several times and subjects take
turns, so that its luck is in the intervals. What is compared is settled before: the conditions
below, and that what stage 1 trained is dropped before sampling. Judges measure as well that have
seen none of the damage (`lord.metrics.independent`).
"""

from collections.abc import Iterator
from itertools import product

from pydantic import Field, PositiveInt, ValidationError

from lord.errors import described
from lord.experiments.lord import example
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.conditions import Place, cells_of, measure, tabulated
from lord.experiments.lord.protocol import TRAINED, Conditions, Protocol
from lord.study.experiment import Cell, Experiment, Indices, Section, Table
from lord.study.profile import Profile


class Confirmation(Section):
    """Which defences are tried once more, and on whom."""

    conditions: Conditions
    subjects: Indices = Field(description="whom the main table has not seen")
    trainings: PositiveInt = Field(
        1, description="of each defence, with seeds from 0; subjects take turns"
    )


def judged(protocol: Protocol) -> Protocol:
    """The protocol with independent judges.

    Raises:
        ValueError: their weights are not to be had.
    """
    try:
        return protocol.varied({"independent": True})
    except ValidationError as error:
        raise ValueError(f"confirmation: {described(error)}") from error


def retrained(protocol: Protocol, seed: int) -> Protocol:
    """The protocol with that seed in stage 1 of every defence."""
    return protocol.varied({training: {"seed": seed} for training, _ in TRAINED.values()})


def cells(profile: Profile) -> Iterator[Cell]:
    """Every condition on the new subjects.

    Raises:
        ValueError: the main table has seen a subject.
    """
    protocol, own = judged(profile["lord"]), profile["confirmation"]
    if seen := set(own.subjects) & set(protocol.subjects):
        raise ValueError(f"confirmation.subjects: {min(seen)} is one of lord.subjects; take others")
    for place in product(protocol.domains, ["evaluation"], own.subjects, protocol.seeds[:1]):
        place = Place(*place)
        taught = retrained(protocol, place.subject % own.trainings)
        for method, defences in own.conditions.items():
            attack = None if method == "none" else attack_at(protocol, method)
            for defence in defences:
                treatment = "dropped" if defence in TRAINED else "none"
                yield from cells_of(taught, place, attack, defence, (treatment,), "-confirmation")


CONFIRMED = ("confirmation", "confirmation_scale")

EXPERIMENT = Experiment(
    name="confirmation",
    title="whether the main findings hold for new people, and by judges that saw no damage",
    section=Confirmation,
    cells=cells,
    measure=measure,
    example=example.condition,
    needs=("stage1",),
    tables={
        "confirmation": Table(CONFIRMED, tabulated("judge_table")),
        "confirmation_standing": Table(CONFIRMED, tabulated("judged_standings")),
        "confirmation_agreement": Table(CONFIRMED, tabulated("judges_agreement")),
    },
)
