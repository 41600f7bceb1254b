"""What the chapter on hidden gradients shows: their signs, in pictures and words."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.metrics.interval import Interval, mean_interval, share_interval
from lord.record import Record
from lord.show.panels import interval, legend, panels
from lord.show.purification import defence_name
from lord.show.style import CYCLE, caveats, mark, styled, where_planned
from lord.show.tables import plain_table
from lord.show.words import capitalised, count, listed

ATTACKS = {
    "clean": "no attack",
    "noise": "noise of ±ε",
    "square": "Square",
    "unbounded": "PGD, no bound",
}


STATES = {
    True: "as with nothing hidden,",
    None: "it cannot be told whether",
    False: "unlike there, it is not so that",
}


@styled
def signs(records: Sequence[Record]) -> Figure:
    """What each attack leaves right, and how the loss grows in the steps of PGD.

    Args:
        records: those of ``purification_masking``.
    """
    names = _attacks(records[0])
    figure, ((left, right),) = panels(1, 2, 0.3 * len(names) + 1.4)
    for number, (record, colour) in enumerate(zip(records, CYCLE, strict=False)):
        words, shift = defence_name(record.settings["defence"]), 0.24 * (number - 0.5)
        for place, name in enumerate(names):
            mean, low, high = mean_interval(record.series[f"{name}/right"])
            row = {"right": mean, "right_low": low, "right_high": high}
            interval(left, row, "right", place + shift, colour, label=words)
        for draws, style in zip(_ends(record), (":", "-"), strict=True):
            path = record.series[f"loss x{draws}"]
            right.plot(range(len(path)), path, style, color=colour)
            if record is records[-1]:
                label = f"{count(draws, 'purification')} in a gradient"
                right.plot([], [], style, color="#555555", label=label)
    left.set(xlim=(-0.03, 1.03), ylim=(len(names) - 0.5, -0.5), xlabel="share right")
    left.set_yticks(range(len(names)), [_attack(name) for name in names])
    left.grid(axis="y", visible=False)
    right.set(xlabel="step of PGD", ylabel="loss")
    legend(figure)
    return mark(figure, records)


@where_planned
def signs_table(records: Sequence[Record]) -> Styler:
    """What each attack leaves right, and the loss after it, with intervals over pictures."""
    rows = {
        (defence_name(record.settings["defence"]), _attack(name)): {
            "right": _said(mean_interval(record.series[f"{name}/right"]), "{:.0%}"),
            "loss": _said(mean_interval(record.series[f"{name}/loss"]), "{:.2f}"),
        }
        for record in records
        for name in _attacks(record)
    }
    return plain_table(pd.DataFrame.from_dict(rows, orient="index"), records)


@where_planned
def sign_findings(records: Sequence[Record]) -> Markdown:
    """In short: what holds of each defence that holds where no gradients are hidden."""
    lines = [f"*{text}*" for text in caveats(records)]
    for record in records:
        found = _signs(record)
        told = [
            f"{words} {listed(names)}"
            for state, words in STATES.items()
            if (names := [name for name, (_, holds) in found.items() if holds is state])
        ]
        said = ". ".join(map(capitalised, (*told, *(words for words, _ in found.values()))))
        lines.append(f"- {capitalised(defence_name(record.settings['defence']))}. {said}.")
    return Markdown("\n".join(lines))


def _signs(record: Record) -> dict[str, tuple[str, bool | None]]:
    """What holds where nothing is hidden: its numbers in words, and whether it does; None if that
    cannot be told."""
    (few, many), series = _ends(record), record.series
    pgd, images = f"pgd x{many}", int(record.metrics["images"])
    blind, more = (
        mean_interval(np.subtract(series[upper], series[lower]))
        for upper, lower in (("square/right", f"{pgd}/right"), (f"{pgd}/loss", f"pgd x{few}/loss"))
    )
    path = series[f"loss x{many}"]
    rises = sum(after > before for before, after in pairwise(path))
    ever = share_interval(sum(right > 0 for right in series["unbounded/right"]), images)
    after_pgd, after_square = (record.metrics[f"{name}/right"] for name in (pgd, "square"))
    return {
        "attacks without gradients do worse": (
            f"PGD leaves {after_pgd:.0%} right and Square {after_square:.0%}, a difference of "
            f"{_said(blind, '{:.0%}')}",
            _above(blind),
        ),
        "averaging gradients helps": (
            f"{many} purifications in a gradient instead of {few} raise the loss by "
            f"{_said(more, '{:.2f}')}",
            _above(more),
        ),
        "steps help": (
            f"the loss goes from {path[0]:.2f} to {path[-1]:.2f} and rises in {rises} of "
            f"{len(path) - 1} steps",
            path[-1] > path[0],
        ),
        "an unbounded attack leaves nothing": (
            f"without a bound {_said(ever, '{:.0%}')} of {images} pictures are ever right",
            ever.mean == 0,
        ),
    }


def _above(found: Interval) -> bool | None:
    """Whether a mean is above 0; None if its interval has both sides."""
    return found.low > 0 if found.low > 0 or found.high < 0 else None


def _attacks(record: Record) -> list[str]:
    """The attacks of a record, the dearest last."""
    pgd = [f"pgd x{draws:.0f}" for draws in record.series["draws"]]
    return ["clean", "noise", "square", *pgd, "unbounded"]


def _attack(name: str) -> str:
    return ATTACKS.get(name) or name.replace("pgd x", "PGD × ")


def _ends(record: Record) -> tuple[int, int]:
    """The fewest and the most purifications in a gradient."""
    return int(record.series["draws"][0]), int(record.series["draws"][-1])


def _said(found: Interval, form: str) -> str:
    """A mean with its interval of 95 %."""
    mean, low, high = map(form.format, found)
    return f"{mean} [{low}, {high}]"
