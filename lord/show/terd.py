"""What the chapter on finding backdoors shows: reversed triggers, verdicts, inputs told apart."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.experiments.terd.protocol import of_group
from lord.experiments.terd.tables import input_table, model_table
from lord.record import Record
from lord.show.backdoors import DETECTORS, told, words
from lord.show.panels import legend, panels, plain
from lord.show.pictures import mosaic, sample_tiles
from lord.show.style import BLUE, VERMILION, caveats, mark, styled, where_planned
from lord.show.tables import plain_table
from lord.show.words import NOT_MEASURED, Answer, count, folded

TOO_FEW = "This profile has too few clean models to say what they look like."


@styled
def triggers(records: Sequence[Record]) -> Figure:
    """Pairs of the reversed and the true trigger of each backdoored model; grey is no shift."""
    shown = of_group(records, "reversion", "backdoored")
    columns = min(6, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = panels(rows, columns, 0.75 * rows + 0.2)
    for panel in axes.flat:
        plain(panel)
    for panel, record in zip(axes.flat, shown, strict=False):
        panel.imshow(mosaic(sample_tiles(record, rows=1)[0][1:3]))
        start, cosine = record.settings["start"], record.series["cosine"][-1]
        panel.set_xlabel(f"{'−' if start == 'negative' else '+'}  cos {cosine:.2f}", fontsize=7)
    return mark(figure, shown)


@styled
def paths(records: Sequence[Record]) -> Figure:
    """Cosine to the true trigger, and norm of what is found, along the published reversion."""
    shown = [r for r in records if r.kind == "reversion" and r.settings["start"] == "negative"]
    figure, axes = panels(1, 2, 2.2)
    for group, colour, label in (("clean", BLUE, "clean"), ("backdoored", VERMILION, "backdoored")):
        for record in of_group(shown, "reversion", group):
            line = {"color": colour, "linewidth": 0.9, "alpha": 0.8, "label": label}
            steps = record.series["step"]
            axes[0, 0].plot(steps, record.series["norm"], **line)
            if "cosine" in record.series:
                axes[0, 1].plot(steps, record.series["cosine"], **line)
    axes[0, 0].set(xlabel="step", ylabel="norm of what is found")
    axes[0, 1].set(xlabel="step", ylabel="cosine to the trigger")
    legend(figure)
    return mark(figure, shown)


@styled
def loss_lines(records: Sequence[Record]) -> Figure:
    """The reversed loss from no trigger to the true one, before and after a backdoor is taught."""
    shown = of_group(records, "reversed_loss", "backdoored")
    figure, axes = panels(1, 1, 2.4)
    for record in shown:
        share = record.series["share"]
        for name, colour, label in (
            ("loss_before", BLUE, "before the backdoor is taught"),
            ("loss", VERMILION, "after"),
        ):
            line = {"color": colour, "linewidth": 0.9, "alpha": 0.8, "label": label}
            axes[0, 0].plot(share, record.series[name], **line)
    axes[0, 0].set(xlabel="share of the true trigger", ylabel="reversed loss", yscale="log")
    legend(figure)
    return mark(figure, shown)


@where_planned
def loss_findings(records: Sequence[Record]) -> Markdown:
    """For how many models the search could prefer the true trigger to none, or to what it found."""
    shown = of_group(records, "reversed_loss", "backdoored")
    lower = {"none": 0, "found": 0}
    for record in shown:
        values, starts = record.metrics, record.settings["starts"]
        aims = {name: values[f"loss/{name}"] - values[f"norm/{name}"] for name in ("true", *starts)}
        lower["none"] += aims["true"] < values["loss/none"]
        lower["found"] += aims["true"] < min(aims[start] for start in starts)
    lines = [
        *(f"*{text}*" for text in caveats(records)),
        f"- What the search minimises is the loss less λ‖μ‖₁. At the true trigger it is lower "
        f"than at none for {lower['none']} of {len(shown)} models. It is lower than at what was "
        f"found for {lower['found']}.",
    ]
    for black, kind in ((True, "black"), (False, "not black")):
        part = [r for r in shown if (r.settings["suspect"]["ground"] == -1) == black]
        if part and "negative" in part[0].settings["starts"]:
            first, found = (
                _range([r.metrics[f"{name}/negative"] for r in part])
                for name in ("start_cosine", "cosine")
            )
            lines.append(
                f"- Triggers {kind} beside what is drawn: the published start has a cosine of "
                f"{first} with them. After the search it is {found}."
            )
    return Markdown("\n".join(lines))


def _range(values: Sequence[float]) -> str:
    """The least and the largest: "0.12 to 0.34"."""
    return f"{min(values):.2f} to {max(values):.2f}"


@where_planned
def verdicts(records: Sequence[Record]) -> Figure | Markdown:
    """The score of every model by each detector: clean ones, and those whose backdoor works."""
    table = model_table(records)
    known = [name for name in DETECTORS if f"{name}_score" in table]
    return _verdicts(table, known, records) if known else Markdown(TOO_FEW)


@styled
def _verdicts(table: pd.DataFrame, known: Sequence[str], records: Sequence[Record]) -> Figure:
    figure, axes = panels(1, len(known), 2.2)
    for panel, name in zip(axes[0], known, strict=True):
        for place, (group, colour) in enumerate((("clean", BLUE), ("backdoored", VERMILION))):
            rows = table[table["group"] == group]
            spread = place + np.linspace(-0.25, 0.25, len(rows))
            score = np.arcsinh(rows[f"{name}_score"].to_numpy())
            for works, style in ((True, "full"), (False, "none")):
                part = (rows["works"] | (group == "clean")).to_numpy() == works
                panel.plot(
                    spread[part], score[part], "o", color=colour, markersize=3.5, fillstyle=style
                )
        panel.set_title(DETECTORS[name], fontsize=8)
        panel.set_xticks([0, 1], ["clean", "backdoor"], fontsize=7.5)
    axes[0, 0].set_ylabel("score (arsinh)")
    return mark(figure, records)


@where_planned
def inputs_told(records: Sequence[Record]) -> Styler:
    """Shares of triggered noises that are found, for each backdoored model."""
    table = input_table(records)
    table = table[(table["group"] == "backdoored") & (table["start"] == "negative")]
    shown = pd.DataFrame(
        {
            "TERD": table["triggered"].map("{:.0%}".format),
            "energy": table["energy_triggered"].map("{:.0%}".format),
            "values": table["values_triggered"].map("{:.0%}".format),
            "likeness, pairs": table["likeness_ordered"].map("{:.0%}".format),
        }
    ).set_index(pd.Index([words(row) for row in table.to_dict("records")]))
    return plain_table(shown, records)


@where_planned
def detection_findings(records: Sequence[Record]) -> Markdown:
    """In short: which models and inputs are told right, with exact intervals of 95 %; rest folded.

    Folded are the other detectors, how close what is reversed comes, and the worst of the inputs.
    """
    models, inputs = model_table(records), input_table(records)
    inputs = inputs[inputs["group"] == "backdoored"]
    lines = [told(models, name) for name in DETECTORS if f"{name}_suspected" in models]
    right = inputs[["benign", "triggered"]].min(axis=1)
    short = [
        *(f"*{text}*" for text in caveats(records)),
        *(line.removeprefix("- ") for line in lines[:1]),
        f"With what was reversed, all inputs are told right for {(right == 1).sum()} of "
        f"{len(inputs)} reversions.",
    ]
    further = [
        *lines[1:],
        f"- What is reversed has a cosine of {_range(inputs['cosine'])} with the true trigger.",
        f"- In the worst reversion {right.min():.0%} of one kind of inputs are told right.",
    ]
    return Markdown("\n".join([*short, "", folded("\n".join(further))]))


@where_planned
def cost_findings(records: Sequence[Record]) -> Markdown:
    """What a reversion takes beside the passes that it has to make."""
    (record,) = records
    times, memory = (
        record.metrics["reversion/times_its_passes"],
        record.metrics["reversion/peak_memory_mb"] / record.metrics["passes/peak_memory_mb"],
    )
    lines = [
        *(f"*{text}*" for text in caveats(records)),
        f"A reversion takes {times:.2f} times as long as the passes that it has to make, and "
        f"{memory:.2f} times their memory.",
    ]
    return Markdown("\n".join(lines))


def models_told(records: Sequence[Record]) -> Answer:
    """Whether TERD, as published, suspects the models whose backdoor works, and no clean ones."""
    if not records or "terd_suspected" not in (models := model_table(records)):
        return NOT_MEASURED
    suspected = models["terd_suspected"]
    works, clean = suspected[models["works"]], suspected[models["group"] == "clean"]
    right = works.all() and not clean.any()
    verdict = "Yes" if right else "In part" if works.mean() > clean.mean() else "No"
    number = f"{works.sum()} of {len(works)} found"
    if clean.any():
        number += f", {count(clean.sum(), 'false alarm')}"
    return Answer(verdict, number, told(models, "terd").removeprefix("- "))


def noises_told(records: Sequence[Record]) -> Answer:
    """Whether triggered noises are told by what TERD reverses from the published start."""
    inputs = input_table(records) if records else pd.DataFrame()
    if len(inputs):
        inputs = inputs[(inputs["start"] == "negative") & (inputs["group"] == "backdoored")]
    if not len(inputs):
        return NOT_MEASURED
    right = (inputs[["benign", "triggered"]].min(axis=1) == 1).sum()
    verdict = "Yes" if right == len(inputs) else "In part" if right else "No"
    text = (
        f"From the published start what is reversed has a cosine of {_range(inputs['cosine'])} "
        f"with the true trigger. It tells all noises right in {right} of {len(inputs)} models."
    )
    return Answer(verdict, f"all, in {right} of {len(inputs)} models", text)
