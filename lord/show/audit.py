"""What the gates can tell: the audit of images, and every layer at every noise level."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lord.record import Record
from lord.show.style import ATTACK_NAMES, CYCLE, DEFENCE_NAMES, MARKERS, mark, panels, styled

# Attacks whose calibration is drawn: the one that is known, a relative of it, and strangers.
CALIBRATED = ("ace", "ace_plus", "advdm", "aspl", "sds_minus")


@styled
def audit_matrix(records: Sequence[Record]) -> Figure:
    """How often an attacked photograph scores above a clean one: attacks (rows) against ε."""
    figure, axes = panels(1, len(records), 0.27 * _rows(records[0]) + 1.0, sharey=True)
    for panel, record in zip(axes[0], records, strict=True):
        cells = _cells(record, "auc")
        levels = sorted({level for _, level in cells if level})
        attacks = [name for name in ATTACK_NAMES if (name, levels[0]) in cells]
        harmless = [name for name, level in cells if not level]
        values = np.array([[cells[name, level] for level in levels] for name in attacks])
        same = np.array([[cells[name, 0]] * len(levels) for name in harmless])
        values = np.concatenate((values, same.reshape(-1, len(levels))))
        panel.imshow(abs(values - 0.5), cmap="Oranges", vmin=0, vmax=0.6, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            if row < len(attacks) or column == 0:
                panel.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=8.5)
        panel.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
        names = [ATTACK_NAMES[name] for name in attacks]
        names += [f"clean, {DEFENCE_NAMES[name]}" for name in harmless]
        panel.set_yticks(range(len(names)), names)
        panel.tick_params(length=0)
        panel.grid(False)
        panel.spines[:].set_visible(False)
        panel.set(xlabel="ε, grey levels of 255", title=record.settings["domain"])
    return mark(figure, records)


@styled
def reliability(records: Sequence[Record]) -> Figure:
    """The share of attacked photographs among those of a probability, half of all attacked."""
    figure, axes = panels(1, len(records), 3.0, sharey=True)
    for panel, record in zip(axes[0], records, strict=True):
        panel.plot([0, 1], [0, 1], color="grey", linewidth=1)
        shown = [name for name in CALIBRATED if f"said/{name}" in record.series]
        for name, colour, marker in zip(shown, CYCLE, MARKERS, strict=False):
            said, true = (record.series[f"{part}/{name}"] for part in ("said", "true"))
            label = ATTACK_NAMES[name]
            panel.plot(said, true, marker=marker, markersize=4.5, color=colour, label=label)
        panel.set(title=record.settings["domain"], xlabel="said to be attacked", xlim=(0, 1))
    axes[0, 0].set_ylabel("attacked")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return mark(figure, records)


@styled
def layer_matrix(records: Sequence[Record]) -> Figure:
    """How well the gate of each layer (rows, in the order of the network) tells, by timestep."""
    figure, axes = panels(1, len(records), 4.2, sharey=True)
    for panel, record in zip(axes[0], records, strict=True):
        layers = {
            name.removeprefix("auc/"): curve
            for name, curve in record.series.items()
            if name.startswith("auc/")
        }
        blocks = [name.split("_blocks")[0].split("_block")[0] for name in layers]
        order = sorted(range(len(layers)), key=lambda k: ("down", "mid", "up").index(blocks[k]))
        values = np.array([list(layers.values())[k] for k in order])
        image = panel.imshow(
            values,
            cmap="viridis",
            vmin=0.5,
            vmax=1,
            aspect="auto",
            extent=(0, 1000, len(values), 0),
        )
        counts = [blocks.count(name) for name in ("down", "mid", "up")]
        edges = np.cumsum([0, *counts])
        panel.hlines(edges[1:-1], 0, 1000, color="white", linewidth=1)
        panel.set_yticks((edges[:-1] + edges[1:]) / 2, ["down", "mid", "up"])
        panel.tick_params(length=0)
        panel.grid(False)
        panel.set(xlabel="timestep (noise →)", title=record.settings["domain"])
    figure.colorbar(image, ax=axes, label="area under the ROC curve", shrink=0.8)
    return mark(figure, records)


def _rows(record: Record) -> int:
    return len({name for name, _ in _cells(record, "auc")})


def _cells(record: Record, part: str) -> dict[tuple[str, float], float]:
    """The metrics of a part under attack (or what else happened) and ε; 0 where there is none."""
    split = (key.split("/") for key in record.metrics)
    return {
        (name, float(level)): record.metrics[f"{kind}/{name}/{level}"]
        for kind, name, level in split
        if kind == part
    }
