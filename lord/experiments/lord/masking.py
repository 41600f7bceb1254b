"""Whether attackers who know the defence, LoRD or DiffPure, follow true gradients."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from pydantic import Field, PositiveInt

from lord.attacks.settings import NOISE
from lord.experiments.lord.protocol import PROPOSED, TRAINED, defence_components, single
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile

PHOTOGRAPHS = 4
"""How many are measured behind DiffPure: for each the longest attack takes a minute of one core."""


class Masking(Section):
    """How precisely an objective is measured."""

    draws: PositiveInt = Field(32, description="of timestep and noise, which attacks have not seen")


def cells_of_lord(profile: Profile) -> Iterator[Cell]:
    """With the attacks of those who know the defence."""
    if "adaptive" in profile:
        names = ["photographs", *TRAINED[PROPOSED]]
        components = [*defence_components(profile["lord"], PROPOSED), "attacker:defended"]
        attacks = list(profile["adaptive"].conditions)
        yield from _cells("masking", profile, names, components, attacks=attacks)


def cells_of_diffpure(profile: Profile) -> Iterator[Cell]:
    """With the attacks of those who know of DiffPure, where there is such an attacker."""
    if "adaptive" not in profile:
        return
    adaptive, protocol = profile["adaptive"], profile["lord"]
    attackers = {protocol.varied(v).scenario.attacker for v in adaptive.variants.values()}
    faced = [a for a, names in adaptive.conditions.items() if a != "none" and "diffpure" in names]
    if faced and "through_diffpure" in attackers:
        components = ["purifier:diffpure", "attacker:through_diffpure"]
        further = {"attacks": faced, "photographs": min(PHOTOGRAPHS, protocol.photographs)}
        yield from _cells("masking_diffpure", profile, [], components, **further)


def _cells(
    experiment: str,
    profile: Profile,
    names: Iterable[str],
    components: Iterable[str],
    **further: Any,
) -> Iterator[Cell]:
    """One cell for each domain."""
    names = ["subjects", "seeds", "budget", "finetune", *names]
    components = ["step:renderer", "attack:ace", f"attack:{NOISE}", *components]
    components += [f"attack:{method}" for method in further["attacks"]]
    for domain in profile["lord"].domains:
        cell = single(experiment, profile["lord"], names, components, domain, **further)
        yield cell.with_settings(profile[experiment], "draws")


def measure(attacker: str, defence: str, context: Context, cell: Cell) -> Outcome:
    """What attacks raise, measured behind a defence, for more and more gradient steps.

    Signs of masked gradients would be that an attack on what is defended raises its objective less
    than the same attack on the base model does (``unaware``), or not above that of uniform noise,
    or no further with more steps (Athalye et al., Obfuscated Gradients Give a False Sense of
    Security, 2018). Metrics are the objective of each attack on clean, noisy and unaware
    photographs; a series is that on photographs attacked knowingly, by ``steps``.

    Behind LoRD that is on the defended model; behind DiffPure on the base model, with the purifier
    as the study uses it, in ten steps instead of the attacker's two, and with noise that the
    attacker has not seen.
    """
    from lord.experiments.lord.chain.objective import raised

    return raised(context, cell, attacker, defence)


MASKING = Experiment(
    name="masking",
    title="whether attackers who know LoRD follow true gradients",
    cells=cells_of_lord,
    measure=partial(measure, "defended", PROPOSED),
    section=Masking,
    needs=("adaptive",),
)
MASKING_DIFFPURE = Experiment(
    name="masking_diffpure",
    title="whether attackers who know of DiffPure follow true gradients",
    cells=cells_of_diffpure,
    measure=partial(measure, "through_diffpure", "diffpure"),
    section=Masking,
    needs=("adaptive",),
)
