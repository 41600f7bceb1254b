"""Stage 1 of each defence, and what its gate can tell."""

from collections.abc import Iterator
from random import Random

from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.cells import defence_components, single
from lord.experiments.lord.conditions import defended
from lord.experiments.lord.protocol import SELECTION_START, TRAINED, is_lord
from lord.experiments.sheet import made_up, rows
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain and trained defence of the main table."""
    protocol = profile["lord"]
    for domain in protocol.domains:
        for defence in filter(TRAINED.get, defended(profile["main"].conditions)):
            names = ["seeds", "photographs", "budget", *TRAINED[defence]]
            components = ["step:renderer", "attack:ace", *defence_components(protocol, defence)]
            components.append("metric:gates")
            yield single("stage1", protocol, names, components, domain, defence)


def measure(context: Context, cell: Cell) -> Outcome:
    """Train a defence of a domain on stage-1 identities, and see what its gate, if any, can tell.

    The gate is shown an identity that it was not trained on.
    """
    from lord.defences.gates import gate_profile
    from lord.defences.saved import load_defence
    from lord.experiments.lord.chain.defences import HISTORY, defence_of, stage1_images
    from lord.experiments.lord.chain.model import base_pipeline
    from lord.experiments.lord.chain.photographs import photographs_of
    from lord.experiments.lord.chain.subjects import subject_of
    from lord.models.layout import read_object

    settings, domain, defence = cell.settings, cell["domain"], cell["defence"]
    folder = defence_of(context, settings, domain, defence)
    history = read_object(folder / HISTORY)
    clean, attacked, _ = stage1_images(context, settings, domain, defence)
    sheet = rows(clean[:8], attacked[:8])
    if not is_lord(settings, defence):
        return Outcome({"images": len(clean)}, history, sheet)
    subject = subject_of(settings, domain, "stage1", SELECTION_START)
    photographs, perturbed = (
        photographs_of(context, settings, subject, cell["seed"], attack)
        for attack in (None, attack_at(settings, "ace"))
    )
    pipeline = base_pipeline(context, settings)
    load_defence(pipeline, folder)
    gates = gate_profile(pipeline, photographs, perturbed, [subject.prompt] * len(photographs))
    metrics = {"images": len(clean), "gate_accuracy": gates.accuracy}
    return Outcome(metrics, history | gates.series, sheet)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    number, parts = Random(cell.name), ("clean", "attacked", "gate")
    series = {name: [number.random() for _ in range(40)] for name in parts}
    metrics = {"images": 512.0}
    if not is_lord(cell.settings, cell["defence"]):
        return Outcome(
            metrics,
            {name: series[name] for name in parts[:2]},
            made_up(cell.name, 2, cell.settings.size),
        )
    series["timestep"] = [100.0, 500.0, 900.0]
    for name in ("clean", "attacked"):
        series |= {f"{name}_{end}": [0.1] * 3 for end in ("low", "mean", "high")}
    metrics["gate_accuracy"] = 0.7 if cell["domain"] == "portraits" else 0.8
    return Outcome(metrics, series, made_up(cell.name, 2, cell.settings.size))


EXPERIMENT = Experiment(
    name="stage1",
    title="how defences are trained, and what their gates can tell",
    cells=cells,
    measure=measure,
    example=example,
)
