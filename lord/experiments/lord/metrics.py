"""Whether the metrics can be believed."""

from collections.abc import Iterator
from functools import partial
from random import Random

from lord.experiments.lord.cells import single
from lord.experiments.lord.conditions import INDEPENDENT, MEASURED
from lord.experiments.lord.confirmation import judged
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    names = ["subjects", "held_out", "references", "independent"]
    protocol = judged(profile["lord"]) if "confirmation" in profile else profile["lord"]
    measured = INDEPENDENT if protocol.independent else ()
    for domain in protocol.rendered:
        components = ["step:renderer", *MEASURED[:3]]
        yield single(
            "metrics",
            protocol,
            names,
            components,
            domain,
            judged=True,
            measured=measured,
        )


def measure(context: Context, cell: Cell) -> Outcome:
    """Every metric against every degradation, and what clean photographs score."""
    from lord.data.subjects import Subject
    from lord.experiments.lord.chain.model import base_pipeline, independently, instruments_of
    from lord.metrics import validation
    from lord.models.pipeline import round_trip

    settings, pipeline = cell.settings, base_pipeline(context, cell.settings)
    judges = instruments_of(context, settings)
    subject = Subject(cell["domain"], "evaluation", cell["subject"])
    count, references = min(96, settings.held_out), settings.references
    curves = validation.severity_curves(judges, pipeline, subject, count, references)
    floor = validation.clean_floor(judges, pipeline, subject, count, references)
    if settings.independent:
        images = round_trip(pipeline, subject.photographs(count, settings.size).images)
        further = validation.curves_of(partial(independently, context, settings, subject), images)
        curves |= further
        floor = {**floor, **{name: values[0] for (name, _), values in further.items()}}
    metrics = {f"floor/{name}": value for name, value in floor.items()}
    for (metric, kind), value in validation.monotonicity(curves).items():
        metrics[f"spearman/{metric}/{kind}"] = value
    series = {f"{metric}/{kind}": values for (metric, kind), values in curves.items()}
    return Outcome(metrics, {"severity": list(validation.SEVERITIES)} | series)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    number, metrics = Random(cell.name), {}
    series: dict[str, list[float]] = {"severity": [0.0, 0.25, 0.5, 0.75, 1.0]}
    names = ("fid_embedded", "fid_embedded_round_trip", "clip_iqa_embedded", "identity")
    for level, name in enumerate(names):
        metrics[f"floor/{name}"] = 0.5 + level
        for kind in ("blur", "noise", "jpeg", "swirl", "tiles"):
            metrics[f"spearman/{name}/{kind}"] = -1.0 if name == "fid_embedded" else 0.95
            series[f"{name}/{kind}"] = [number.random() for _ in series["severity"]]
    return Outcome(metrics, series)


EXPERIMENT = Experiment(
    name="metrics",
    title="whether the metrics can be believed",
    cells=cells,
    measure=measure,
    example=example,
)
