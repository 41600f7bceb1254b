"""Curves and bars of the chapters before the results: model, metrics and stage 1."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from lord.experiments.lord.protocol import PROPOSED
from lord.record import Record
from lord.show.panels import grid, legend, panels
from lord.show.scale import scale_lines
from lord.show.style import (
    ATTACK_NAMES,
    BLUE,
    CYCLE,
    DEFENCE_NAMES,
    MARKERS,
    VERMILION,
    condition_colour,
    mark,
    metric_label,
    styled,
)


@styled
def attribute_accuracy(records: Sequence[Record]) -> Figure:
    """Recognition of every prompted attribute in samples, with a tick at the rate of guessing."""
    from lord.data.subjects import DOMAINS

    shares = [
        (*key.split("/")[1:], value)
        for record in records
        for key, value in record.metrics.items()
        if key.startswith("accuracy/")
    ]
    domains = list(dict.fromkeys(domain for domain, _, _ in shares))
    counts = [sum(domain == other for other, _, _ in shares) for domain in domains]
    figure, axes = panels(
        len(domains),
        1,
        0.24 * len(shares) + 0.35 * len(domains) + 0.3,
        sharex=True,
        gridspec_kw={"height_ratios": counts},
    )
    for panel, domain, colour in zip(axes[:, 0], domains, CYCLE, strict=False):
        names = [name for other, name, _ in shares if other == domain]
        values = [value for other, _, value in shares if other == domain]
        guesses = [1 / len(DOMAINS[domain].ATTRIBUTES[name]) for name in names]
        panel.barh(range(len(names)), values, height=0.7, color=colour)
        panel.scatter(guesses, range(len(names)), marker="|", s=70, color="black", linewidths=1.6)
        for place, value in enumerate(values):
            panel.text(1.03, place, f"{value:.0%}", va="center", fontsize=8)
        panel.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        panel.set(title=domain, xlim=(0, 1.1), xticks=np.linspace(0, 1, 5))
        panel.grid(axis="y", visible=False)
        panel.invert_yaxis()
    axes[-1, 0].set_xlabel("share recognised")
    axes[-1, 0].xaxis.set_major_formatter("{x:.0%}")
    return mark(figure, records)


def validated_metrics(record: Record) -> list[str]:
    """The metrics that the validation draws: all, FID after the VAE where there are both."""
    metrics = dict.fromkeys(key.split("/")[0] for key in record.series if "/" in key)
    return [name for name in metrics if f"{name}_round_trip" not in metrics]


@styled
def metric_curves(records: Sequence[Record]) -> Figure:
    """Every metric (rows) against the severity of every degradation, for every domain (columns)."""
    validated = [record for record in records if record.kind == "metrics"]
    metrics = validated_metrics(validated[0])
    of_domain = {record.settings["domain"]: record.series for record in validated}
    height = len(metrics) + 0.5
    figure, axes, places = grid(metrics, list(of_domain), height, sharex=True, sharey="row")
    for panel, metric, domain in places:
        series = of_domain[domain]
        curves = {k.split("/")[1]: v for k, v in series.items() if k.startswith(f"{metric}/")}
        for (kind, values), colour, marker in zip(curves.items(), CYCLE, MARKERS, strict=False):
            line = {"color": colour, "marker": marker, "markersize": 4, "label": kind}
            panel.plot(series["severity"], values, **line)
    scale_lines(places, next(key for key in metrics if key.startswith("fid")), records)
    for panel, metric in zip(axes[:, 0], metrics, strict=True):
        panel.set_ylabel(metric_label(metric).replace(" ", "\n", 1))
    for panel in axes[-1]:
        panel.set_xlabel("severity")
    legend(figure, columns=3)
    return mark(figure, records)


@styled
def training_curves(records: Sequence[Record]) -> Figure:
    """Running means of the stage-1 losses: denoising above, the gates' cross-entropy below."""
    domains = list(dict.fromkeys(record.settings["domain"] for record in records))
    figure, axes, _ = grid(("denoising", "gates"), domains, 3.8, sharex=True, sharey="row")
    for record in records:
        column = axes[:, domains.index(record.settings["domain"])]
        defence = record.settings["defence"]
        colour, name = condition_colour("ace", defence), DEFENCE_NAMES[defence]
        for part, style in (("clean", ":"), ("attacked", "-")):
            steps, values = running_mean(record.series[part])
            column[0].plot(steps, values, style, color=colour, label=f"{name}, {part}")
        if "gate" in record.series:
            column[1].plot(*running_mean(record.series["gate"]), color=colour)
    for panel in axes[-1]:
        panel.set_xlabel("step")
    axes[0, 0].set_ylabel("denoising loss")
    axes[1, 0].set_ylabel("cross-entropy of λ")
    legend(figure)
    return mark(figure, records)


def running_mean(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and means over windows of 1/20 of the curve, each at the middle of its window."""
    window = max(1, len(values) // 20)
    means = np.convolve(values, np.ones(window) / window, mode="valid")
    return np.arange(len(means)) + (window - 1) / 2, means


@styled
def objective_curves(records: Sequence[Record], defence: str = PROPOSED) -> Figure:
    """What each attack raises against its gradient steps, by an attacker who knows the defence."""
    of_domain = {record.settings["domain"]: record for record in records}
    attacks = [name for name in records[0].series if name != "steps"]
    height = 1.9 * len(attacks) + 0.5
    figure, axes, places = grid(attacks, list(of_domain), height, sharex=True)
    levels = {
        "clean": ("clean photographs", BLUE, ":"),
        "noise": ("uniform noise", "grey", "--"),
        "unaware": ("attacked without knowing it", VERMILION, "-."),
    }
    for panel, attack, domain in places:
        record = of_domain[domain]
        for key, (label, colour, line) in levels.items():
            value = record.metrics[f"{attack}/{key}"]
            panel.axhline(value, color=colour, linestyle=line, label=label)
        steps = record.series["steps"]
        colour, label = condition_colour(attack, defence), "attacked knowing the defence"
        panel.plot(steps, record.series[attack], "-o", color=colour, label=label)
        panel.set_xscale("log")
        panel.set_xticks(steps, [f"{step:g}" for step in steps])
        panel.xaxis.set_minor_locator(NullLocator())
    for panel, attack in zip(axes[:, 0], attacks, strict=True):
        panel.set_ylabel(f"objective of {ATTACK_NAMES[attack]}")
    for panel in axes[-1]:
        panel.set_xlabel("gradient steps")
    legend(figure)
    return mark(figure, records)
