"""Whether attackers who know the defence, LoRD or DiffPure, follow true gradients."""

from collections.abc import Iterator

from pydantic import Field, PositiveInt

from lord.attacks.settings import NOISE
from lord.experiments.lord.protocol import PROPOSED, TRAINED, defence_components, single
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile

PHOTOGRAPHS = 4
"""How many photographs are measured: for each the longest attack takes a minute of one core."""


class Masking(Section):
    """How precisely an objective is measured."""

    draws: PositiveInt = Field(32, description="of timestep and noise, which attacks have not seen")


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain, with the attacks of those who know the defence."""
    if "adaptive" not in profile:
        return
    protocol, attacks = profile["lord"], list(profile["adaptive"].conditions)
    names = ["subjects", "seeds", "photographs", "budget", "finetune", *TRAINED[PROPOSED]]
    components = ["step:renderer", "attack:ace", f"attack:{NOISE}"]
    components += [*defence_components(protocol, PROPOSED), "attacker:defended"]
    components += [f"attack:{method}" for method in attacks]
    for domain in protocol.domains:
        cell = single("masking", protocol, names, components, domain, attacks=attacks)
        yield cell.with_settings(profile["masking"], "draws")


def measure(context: Context, cell: Cell) -> Outcome:
    """What attacks raise, measured on the defended model, for more and more gradient steps.

    Signs of masked gradients would be that an attack on the defended model itself raises its
    objective less than the same attack on the base model does (``unaware``), or not above that of
    uniform noise, or no further with more steps (Athalye et al., Obfuscated Gradients Give a False
    Sense of Security, 2018). Metrics are the objective of each attack on clean, noisy and unaware
    photographs; a series is that on photographs attacked knowingly, by ``steps``.
    """
    from lord.experiments.lord.chain.objective import raised

    return raised(context, cell, "defended", PROPOSED)


MASKING = Experiment(
    name="masking",
    title="whether attackers who know LoRD follow true gradients",
    cells=cells,
    measure=measure,
    section=Masking,
    needs=("adaptive",),
)


def cells_diffpure(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain, with the attacks of those who know of DiffPure."""
    protocol, attacks = profile["lord"], attacks_through(profile)
    if not attacks:
        return
    components = ["step:renderer", "attack:ace", f"attack:{NOISE}"]
    components += ["purifier:diffpure", "attacker:through_diffpure"]
    components += [f"attack:{method}" for method in attacks]
    further = {"attacks": attacks, "photographs": min(PHOTOGRAPHS, protocol.photographs)}
    for domain in protocol.domains:
        names = ["subjects", "seeds", "budget", "finetune"]
        cell = single("masking_diffpure", protocol, names, components, domain, **further)
        yield cell.with_settings(profile["masking_diffpure"], "draws")


def attacks_through(profile: Profile) -> list[str]:
    """The attacks with which someone who knows of DiffPure faces it, among adaptive attackers."""
    if "adaptive" not in profile:
        return []
    adaptive, protocol = profile["adaptive"], profile["lord"]
    attackers = {protocol.varied(v).scenario.attacker for v in adaptive.variants.values()}
    faced = [a for a, names in adaptive.conditions.items() if a != "none" and "diffpure" in names]
    return faced if "through_diffpure" in attackers else []


def measure_diffpure(context: Context, cell: Cell) -> Outcome:
    """What attacks raise on photographs that DiffPure has purified, for more gradient steps.

    As in `measure`, on the base model: with the purifier as the study uses it, in ten steps instead
    of the attacker's two, and with noise that the attacker has not seen.
    """
    from lord.experiments.lord.chain.objective import raised

    return raised(context, cell, "through_diffpure", "diffpure")


MASKING_DIFFPURE = Experiment(
    name="masking_diffpure",
    title="whether attackers who know of DiffPure follow true gradients",
    cells=cells_diffpure,
    measure=measure_diffpure,
    section=Masking,
    needs=("adaptive",),
)
