"""What the chapter on taking a backdoor out shows: what each fine-tune leaves of the attack."""

from collections.abc import Sequence
from textwrap import fill

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.experiments.terd.tables import WORKS
from lord.metrics.interval import Interval, share_interval
from lord.record import Record
from lord.show.backdoors import words
from lord.show.panels import panels, plain
from lord.show.pictures import mosaic, sample_tiles
from lord.show.style import caveats, mark, styled, where_planned
from lord.show.tables import plain_table
from lord.show.words import count, folded

BEFORE = "as it was"
AFTER = {
    "none": "more clean training",
    "reversed": "unlearning the reversed trigger",
    "true": "unlearning the true trigger",
}
"""What is done to a model, by what it unlearns."""


def by_model(records: Sequence[Record]) -> dict[str, dict[str, Record]]:
    """The record of each model as it was, then after each fine-tune, by what that does.

    Args:
        records: of removal, and of backdoors about the same models.
    """
    before = {record.seed: record for record in records if record.kind == "backdoors"}
    after = {
        (record.seed, record.settings["unlearned"]): record
        for record in records
        if record.kind == "removal"
    }
    return {
        words(before[seed].settings["suspect"]): {BEFORE: before[seed]}
        | {text: after[seed, name] for name, text in AFTER.items()}
        for seed in dict.fromkeys(seed for seed, _ in after)
    }


@styled
def removed(records: Sequence[Record]) -> Figure:
    """Samples of triggered noise: a column for each model, a row for each fine-tune."""
    models, labels = by_model(records), [BEFORE, *AFTER.values()]
    figure, axes = panels(len(labels), len(models), 0.7 * len(labels) + 0.3)
    for column, (name, found) in zip(axes.T, models.items(), strict=True):
        for panel, label in zip(column, labels, strict=True):
            plain(panel)
            panel.imshow(mosaic(sample_tiles(found[label], rows=2)[1][: max(2, 8 // len(models))]))
        column[0].set_title(name.replace(": ", "\n"), fontsize=8)
    for panel, label in zip(axes[:, 0], labels, strict=True):
        panel.set_ylabel(fill(label, 14), fontsize=8, rotation=0, ha="right", va="center")
    return mark(figure, records)


@where_planned
def removal_table(records: Sequence[Record]) -> Styler:
    """Attack success, distance to the target and FID, for each model and fine-tune."""
    rows = {}
    for name, found in by_model(records).items():
        for label, record in found.items():
            success = success_of(record)
            rows[name, label] = {
                "attack success": f"{success.mean:.0%} [{success.low:.0%}, {success.high:.0%}]",
                "distance": f"{record.metrics['distance']:.3f}",
                "embedded FID": f"{record.metrics['fid_pixel']:.1f}",
            }
    return plain_table(pd.DataFrame.from_dict(rows, orient="index"), records)


def success_of(record: Record) -> Interval:
    """The share of triggered samples that are the target, with its exact interval of 95 %."""
    count = record.settings["judging"]["triggered"]
    return share_interval(round(record.metrics["success"] * count), count)


@where_planned
def removal_findings(records: Sequence[Record]) -> Markdown:
    """In short: in how many models each fine-tune ends the attack; folded what is left in each."""
    models = by_model(records)
    ended = []
    for label in AFTER.values():
        mended = sum(found[label].metrics["success"] < WORKS for found in models.values())
        ended.append(f"- after {label} in {mended} of {count(len(models), 'model')}")
    lines = []
    for name, found in models.items():
        success = {label: success_of(record) for label, record in found.items()}
        lines += [
            f"- {name}, {label if label == BEFORE else f'after {label}'}: attack success "
            f"{share.mean:.0%} ({share.low:.0%} to {share.high:.0%}), embedded FID "
            f"{found[label].metrics['fid_pixel']:.1f}."
            for label, share in success.items()
        ]
    short = [
        *(f"*{text}*" for text in caveats(records)),
        "The backdoor no longer works:",
        "",
        *ended,
    ]
    return Markdown("\n".join([*short, "", folded("\n".join(lines))]))
