"""What figures are put together from: grids of panels, rows of intervals, matrices, legends."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lord.record import Record
from lord.show.style import WIDTH, metric_label

Places = list[tuple[Axes, str, str]]
"""Panels, each with what its row and its column are of."""


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, NDArray[Any]]:
    """A figure of the book's width with a grid of axes, shape (rows, columns); height in inches."""
    return plt.subplots(rows, columns, figsize=(WIDTH, height), squeeze=False, **options)


def grid(
    rows: Sequence[str], columns: Sequence[str], height: float, **options: Any
) -> tuple[Figure, NDArray[Any], Places]:
    """As `panels`, one for each pair of a row and a column, whose titles stand above."""
    figure, axes = panels(len(rows), len(columns), height, **options)
    for panel, title in zip(axes[0], columns, strict=True):
        panel.set_title(title)
    pairs = [(row, column) for row in rows for column in columns]
    return figure, axes, [(panel, *pair) for panel, pair in zip(axes.flat, pairs, strict=True)]


def by_domain(records: Sequence[Record], height: float) -> tuple[Figure, list[tuple[Axes, Record]]]:
    """A panel for each record, side by side, below the name of its domain."""
    domains = [record.settings["domain"] for record in records]
    figure, axes, _ = grid(["records"], domains, height, sharey=True)
    return figure, list(zip(axes[0], records, strict=True))


def ranking(
    keys: Mapping[str, str], domains: Sequence[str], names: Sequence[str], height: float
) -> tuple[Figure, Places]:
    """A grid of metrics and domains, with a place for each of the names, from the top down.

    Args:
        keys: the metric of the records by the column of the tables, see `metric_keys`.
    """
    figure, axes, places = grid(list(keys), domains, height, sharex="row", sharey=True)
    for panel, name, _ in places:
        panel.set_xlabel(metric_label(keys[name]))
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.grid(axis="y", visible=False)
    for panel in axes[:, 0]:
        panel.set_yticks(range(len(names)), names)
    return figure, places


def interval(
    panel: Axes,
    cell: Mapping[str, float],
    name: str,
    place: float,
    colour: str,
    filled: bool = True,
    label: str | None = None,
) -> None:
    """The mean of a metric as a dot, its interval as a bar."""
    low, high = cell[f"{name}_low"], cell[f"{name}_high"]
    panel.plot([low, high], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
    dot = {"markersize": 5.5, "color": colour, "markerfacecolor": colour if filled else "white"}
    panel.plot(cell[name], place, "o", linestyle="none", label=label, **dot)


def band(
    panel: Axes,
    steps: ArrayLike,
    curve: Sequence[ArrayLike],
    style: str,
    colour: str,
    label: str,
    alpha: float,
    **line: Any,
) -> None:
    """The means of a curve as a line, in a band between the ends that follow them in ``curve``."""
    mean, low, high = curve
    panel.fill_between(steps, low, high, color=colour, alpha=alpha, linewidth=0)
    panel.plot(steps, mean, style, color=colour, label=label, **line)


def matrix(
    panel: Axes,
    shades: NDArray[Any],
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    limit: float,
    white: float = np.inf,
    **labels: Any,
) -> None:
    """Cells with a text each, the darker the larger their shade.

    Args:
        shades: of the cells, shape (rows, columns), from 0 to ``limit``.
        white: the shade from which on texts are white.
        labels: how the names of the columns are written.
    """
    panel.imshow(shades, cmap="Oranges", vmin=0, vmax=limit, aspect="auto")
    for (row, column), shade in np.ndenumerate(shades):
        if text := texts[row][column]:
            colour = "white" if shade >= white else "black"
            centre = {"ha": "center", "va": "center"}
            panel.text(column, row, text, fontsize=8.5, color=colour, **centre)
    panel.set_xticks(range(len(columns)), columns, **labels)
    panel.set_yticks(range(len(rows)), rows)
    panel.tick_params(length=0)
    panel.grid(False)
    panel.spines[:].set_visible(False)


def plain(axes: Axes) -> None:
    """Axes for an image: no frame, ticks or grid, but room for title and label."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def legend(figure: Figure, columns: int = 2) -> None:
    """Below the panels, with each label once."""
    entries = {}
    for panel in figure.axes:
        handles, labels = panel.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=columns)
