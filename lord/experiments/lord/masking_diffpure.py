"""Whether an attacker who knows of DiffPure follows gradients that lead anywhere."""

from collections.abc import Iterator

from lord.attacks.settings import NOISE
from lord.experiments.lord import masking
from lord.experiments.lord.cells import single
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile

PHOTOGRAPHS = 4
"""How many photographs are measured: for each the longest attack takes a minute of one core."""


def cells(profile: Profile) -> Iterator[Cell]:
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


def measure(context: Context, cell: Cell) -> Outcome:
    """What attacks raise on photographs that DiffPure has purified, for more gradient steps.

    As in `masking`, on the base model: with the purifier as the study uses it, in ten steps instead
    of the attacker's two, and with noise that the attacker has not seen.
    """
    from lord.experiments.lord.chain.objective import raised

    return raised(context, cell, "through_diffpure", "diffpure")


EXPERIMENT = Experiment(
    name="masking_diffpure",
    title="whether attackers who know of DiffPure follow true gradients",
    cells=cells,
    measure=measure,
    example=masking.example,
    section=masking.Masking,
    needs=("adaptive",),
)
