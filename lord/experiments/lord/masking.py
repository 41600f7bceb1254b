"""Whether an attacker who knows the defence follows true gradients."""

from collections.abc import Iterator

from pydantic import Field, PositiveInt

from lord.attacks.settings import NOISE
from lord.experiments.lord.cells import defence_components, single
from lord.experiments.lord.protocol import PROPOSED, TRAINED
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile


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


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    levels = {"clean": 0.1, "noise": 0.1, "unaware": 0.2}
    methods = cell.settings.attacks
    metrics = {f"{m}/{name}": value for m in methods for name, value in levels.items()}
    return Outcome(metrics, {"steps": [1.0, 4.0, 16.0]} | {m: [0.2, 0.3, 0.35] for m in methods})


EXPERIMENT = Experiment(
    name="masking",
    title="whether attackers who know LoRD follow true gradients",
    cells=cells,
    measure=measure,
    example=example,
    section=Masking,
    needs=("adaptive",),
)
