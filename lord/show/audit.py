"""What the gates can tell: the audit of images, and every layer at every noise level."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lord.record import Record
from lord.show.panels import by_domain, legend, matrix
from lord.show.style import ATTACK_NAMES, CYCLE, DEFENCE_NAMES, MARKERS, mark, styled

# Attacks whose calibration is drawn: the one that is known, a relative of it, and strangers.
CALIBRATED = ("ace", "ace_plus", "advdm", "aspl", "sds_minus")


@styled
def audit_matrix(records: Sequence[Record]) -> Figure:
    """How often an attacked photograph scores above a clean one: attacks (rows) against ε."""
    rows = {name for name, _ in _areas(records[0])}
    figure, places = by_domain(records, 0.27 * len(rows) + 1.0)
    for panel, record in places:
        cells = _areas(record)
        levels = sorted({level for _, level in cells if level})
        attacks = [name for name in ATTACK_NAMES if (name, levels[0]) in cells]
        harmless = [name for name, level in cells if not level]
        values = [[cells[name, level] for level in levels] for name in attacks]
        values += [[cells[name, 0]] * len(levels) for name in harmless]
        texts = [[f"{value:.2f}" for value in row] for row in values]
        for row in texts[len(attacks) :]:
            row[1:] = [""] * len(row[1:])
        names = [ATTACK_NAMES[name] for name in attacks]
        names += [f"clean, {DEFENCE_NAMES[name]}" for name in harmless]
        columns = [f"{level:g}" for level in levels]
        matrix(panel, abs(np.array(values) - 0.5), texts, names, columns, limit=0.6)
        panel.set_xlabel("ε, grey levels of 255")
    return mark(figure, records)


@styled
def reliability(records: Sequence[Record]) -> Figure:
    """The share of attacked photographs among those of a probability, half of all attacked."""
    figure, places = by_domain(records, 3.0)
    for panel, record in places:
        series = record.series
        panel.plot([0, 1], [0, 1], color="grey", linewidth=1)
        shown = [name for name in CALIBRATED if f"said/{name}" in series]
        for name, colour, marker in zip(shown, CYCLE, MARKERS, strict=False):
            line = {"color": colour, "marker": marker, "markersize": 4.5}
            said, true = series[f"said/{name}"], series[f"true/{name}"]
            panel.plot(said, true, label=ATTACK_NAMES[name], **line)
        panel.set(xlabel="said to be attacked", xlim=(0, 1))
    places[0][0].set_ylabel("attacked")
    legend(figure, columns=3)
    return mark(figure, records)


@styled
def layer_matrix(records: Sequence[Record]) -> Figure:
    """How well the gate of each layer (rows, in the order of the network) tells, by timestep."""
    figure, places = by_domain(records, 4.2)
    for panel, record in places:
        curves = {name: v for name, v in record.series.items() if name.startswith("auc/")}
        blocks = {name: re.match("auc/(down|mid|up)_block", name)[1] for name in curves}
        order = sorted(curves, key=lambda name: ("down", "mid", "up").index(blocks[name]))
        counts = Counter(blocks.values())
        edges = np.cumsum([0, *(counts[name] for name in ("down", "mid", "up"))])
        shown = {"cmap": "viridis", "vmin": 0.5, "vmax": 1, "aspect": "auto"}
        image = panel.imshow([curves[k] for k in order], extent=(0, 1000, edges[-1], 0), **shown)
        panel.hlines(edges[1:-1], 0, 1000, color="white", linewidth=1)
        panel.set_yticks((edges[:-1] + edges[1:]) / 2, ["down", "mid", "up"])
        panel.tick_params(length=0)
        panel.grid(False)
        panel.set_xlabel("timestep (noise →)")
    figure.colorbar(image, ax=figure.axes, label="area under the ROC curve", shrink=0.8)
    return mark(figure, records)


def _areas(record: Record) -> dict[tuple[str, float], float]:
    """Areas under the ROC curve, by attack (or what else happened) and ε, 0 where there is none."""
    split = {key: key.split("/") for key in record.metrics}
    return {
        (name, float(level)): record.metrics[key]
        for key, (kind, name, level) in split.items()
        if kind == "auc"
    }
