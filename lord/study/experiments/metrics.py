"""Whether the metrics can be believed."""

from lord.data.subjects import Subject
from lord.metrics import validation
from lord.study.bench import Bench, Outcome


def validate_metrics(bench: Bench, domain: str) -> Outcome:
    """Every metric against every degradation, and what clean photographs score."""
    profile = bench.profile
    subject = Subject(domain, "evaluation", profile.subjects[0])
    count, references = min(96, profile.held_out), profile.references
    points = validation.severity_curves(
        bench.instruments, bench.pipeline, subject, count, references
    )
    floor = validation.clean_floor(bench.instruments, bench.pipeline, subject, count, references)
    metrics = {f"floor/{name}": value for name, value in floor.items()}
    for (metric, kind), value in validation.monotonicity(points).items():
        metrics[f"spearman/{metric}/{kind}"] = value
    series: dict[str, list[float]] = {"severity": list(validation.SEVERITIES)}
    for point in points:
        series.setdefault(f"{point.metric}/{point.kind}", []).append(point.value)
    return Outcome(metrics, series)
