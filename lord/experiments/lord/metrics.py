"""Whether the metrics can be believed."""

from collections.abc import Iterator

from lord.experiments.lord.conditions import MEASURED
from lord.experiments.lord.protocol import single
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    names = ["subjects", "held_out", "references"]
    for domain in profile["lord"].domains:
        components = ["step:renderer", *MEASURED[:3]]
        yield single("metrics", profile["lord"], names, components, domain, judged=True)


def measure(context: Context, cell: Cell) -> Outcome:
    """Every metric against every degradation, and what clean photographs score."""
    from lord.data.subjects import Subject
    from lord.experiments.lord.chain.model import base_pipeline, instruments_of
    from lord.metrics import validation

    settings, pipeline = cell.settings, base_pipeline(context, cell.settings)
    judges = instruments_of(context, settings)
    subject = Subject(cell["domain"], "evaluation", cell["subject"])
    count, references = min(96, settings.held_out), settings.references
    curves = validation.severity_curves(judges, pipeline, subject, count, references)
    floor = validation.clean_floor(judges, pipeline, subject, count, references)
    metrics = {f"floor/{name}": value for name, value in floor.items()}
    for (metric, kind), value in validation.monotonicity(curves).items():
        metrics[f"spearman/{metric}/{kind}"] = value
    series = {f"{metric}/{kind}": values for (metric, kind), values in curves.items()}
    return Outcome(metrics, {"severity": list(validation.SEVERITIES)} | series)


EXPERIMENT = Experiment(
    name="metrics",
    title="whether the metrics can be believed",
    cells=cells,
    measure=measure,
)
