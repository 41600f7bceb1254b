"""What the chapter on the limits of detection shows: backdoors that are made harder to find."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.backdoors.settings import SUSPECTED
from lord.experiments.terd.protocol import Suspect, of_group
from lord.experiments.terd.tables import frontier_table, model_table
from lord.record import Record
from lord.show.backdoors import DETECTORS, counted
from lord.show.panels import legend, panels
from lord.show.style import (
    BLUE,
    LEFT_OUT,
    ORANGE,
    VERMILION,
    caveats,
    mark,
    styled,
    where_planned,
)
from lord.show.tables import plain_table
from lord.show.terd import TOO_FEW
from lord.show.words import capitalised, listed

WAYS = {
    "strength": "strength",
    "width": "width in pixels",
    "rate": "poison rate",
    "decoys": "false trails",
}
"""How a backdoor is made harder to find, one way at a time."""

DRAWN = {"terd": (VERMILION, "s"), "terd_both": (BLUE, "o"), "elijah": (ORANGE, "^")}
"""The detectors of the figure: the norm alone comes close to TERD from both starts."""


def hidden(records: Sequence[Record]) -> dict[str, pd.DataFrame]:
    """For each way to hide, the models that differ in it alone from one of the zoo, and that one.

    From the one that is easiest to find, so that a line of the figure goes from easy to hard. Every
    way is walked from one model of the zoo, the first from which there is a step.
    """
    usual, hard = model_table(records), frontier_table(records)
    found: dict[str, pd.DataFrame] = {}
    for start in usual[usual["group"] == "backdoored"].to_dict("records"):
        for way in WAYS:
            others = [name for name in Suspect.model_fields if name != way]
            same = (hard[others] == [start[name] for name in others]).all(axis=1)
            if way not in found and same.any():
                rows = pd.concat([pd.DataFrame([start]), hard[same]])
                found[way] = rows.sort_values(way, ascending=way == "decoys")
    return found


def _where_hidden(draw: Callable[..., Any]) -> Callable[..., Any]:
    """As `where_planned`, for profiles in whose zoo no model is harder to find than another."""

    @where_planned
    @wraps(draw)
    def shown(records: Sequence[Record]) -> Any:
        there = any(of_group(records, "backdoors", "frontier"))
        return draw(records) if there and hidden(records) else HTML(LEFT_OUT)

    return shown


@_where_hidden
def frontier(records: Sequence[Record]) -> Figure | Markdown:
    """The p-value of each detector along each way to hide: filled where the backdoor works."""
    if "terd_both_p" not in frontier_table(records):
        return Markdown(TOO_FEW)
    return _frontier(hidden(records), records)


@styled
def _frontier(ways: dict[str, pd.DataFrame], records: Sequence[Record]) -> Figure:
    lines = -(-len(ways) // 2)
    figure, axes = panels(lines, 2, 2.1 * lines + 0.3, sharey=True)
    for panel in axes.flat[len(ways) :]:
        panel.set_visible(False)
    for panel, (way, rows) in zip(axes.flat, ways.items(), strict=False):
        places = range(len(rows))
        for name, (colour, marker) in DRAWN.items():
            if f"{name}_p" not in rows:
                continue
            p_values, dots = rows[f"{name}_p"], {"color": colour, "marker": marker}
            panel.plot(places, p_values, **dots, linewidth=1.0, label=DETECTORS[name])
            silent = [place for place in places if not rows["works"].iloc[place]]
            panel.plot(silent, p_values.iloc[silent], "none", **dots, markerfacecolor="white")
        panel.axhline(SUSPECTED, color="#555555", linestyle=":", linewidth=1.2)
        panel.set_xticks(places, [f"{value:g}" for value in rows[way]])
        panel.set(yscale="log", xlabel=WAYS[way], xlim=(-0.4, len(rows) - 0.6))
    for panel in axes[:, 0]:
        panel.set_ylabel("p-value")
    legend(figure, 3)
    return mark(figure, records)


@_where_hidden
def models_table(records: Sequence[Record]) -> Styler:
    """Each model along the ways to hide: its trigger's norm, attack success, and every p-value."""
    shown = {
        (WAYS[way], f"{row[way]:g}"): row
        for way, rows in hidden(records).items()
        for row in rows.to_dict("records")
    }
    shown |= {("learned, at most", f"{row['strength']:g}"): row for row in _learned(records)}
    cells = {place: _cells(row) for place, row in shown.items()}
    return plain_table(pd.DataFrame.from_dict(cells, orient="index"), records)


def _learned(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The models whose trigger was learned with them, and so differs in more than one way."""
    table = frontier_table(records)
    return table[table["attack"] == "invisible"].to_dict("records")


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """What the table says of a model."""
    cells = {"norm": f"{row['norm']:.1f}", "attack success": f"{row['success']:.0%}"}
    cells |= {
        f"p, {words}": f"{row[f'{name}_p']:.2g}"
        for name, words in DETECTORS.items()
        if f"{name}_p" in row
    }
    cosines = [value for name, value in row.items() if name.endswith("/cosine")]
    return cells | {"best cosine": f"{max(cosines):.2f}"}


@_where_hidden
def frontier_findings(records: Sequence[Record]) -> Markdown:
    """In short: how many of the harder backdoors are found, by whom, and along which way."""
    harder, ways = frontier_table(records), hidden(records)
    works = harder[harder["works"]]
    known = [name for name in DETECTORS if f"{name}_suspected" in harder] if len(works) else []
    found = [f"{DETECTORS[name]} {counted(works[f'{name}_suspected'])}" for name in known]
    lines = [
        *(f"*{text}*" for text in caveats(records)),
        f"- {len(works)} of {len(harder)} backdoors that were made harder to find work."
        + (f" Of these are found by {'. Found by '.join(found)}." if found else ""),
    ]
    for way, rows in ways.items() if "terd_both" in known else ():
        steps = [
            f"{row[way]:g} is {_found(row)}" + ("" if row["works"] else ", though it does not work")
            for row in rows.to_dict("records")
        ]
        lines.append(f"- By {WAYS[way]}, for TERD: {'. '.join(map(capitalised, steps))}.")
    for row in _learned(records) if "terd_both" in known else ():
        lines.append(
            f"- A trigger that was learned, of at most {row['strength']:g}, is for TERD: "
            f"{_found(row)}" + ("." if row["works"] else ", though it does not work.")
        )
    if left := [text for way, text in WAYS.items() if way not in ways]:
        lines.append(f"- Not measured: {listed(left)}.")
    return Markdown("\n".join(lines))


def _found(row: Mapping[str, Any]) -> str:
    """Whether TERD finds a model, and from where."""
    if row["terd_suspected"]:
        return "found"
    return "found with both starts only" if row["terd_both_suspected"] else "missed"
