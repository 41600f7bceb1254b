"""The gates: λ against the timestep, what it can tell, and what it does in stage 2 and sampling."""

import re
from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import UNCHANGED
from lord.record import Record
from lord.show.ablations import table_of
from lord.show.panels import band, by_domain, grid, legend, matrix, panels
from lord.show.scale import scale_words
from lord.show.style import (
    ATTACK_NAMES,
    BLUE,
    CYCLE,
    DEFENCE_NAMES,
    MARKERS,
    VERMILION,
    mark,
    metric_keys,
    metric_label,
    metric_name,
    number,
    styled,
    treatment_name,
    where_planned,
)
from lord.show.words import count, listed

# Attacks whose calibration is drawn: the one that is known, a relative of it, and strangers.
CALIBRATED = ("ace", "ace_plus", "advdm", "aspl", "sds_minus")

FOUND = 0.95
"""The least area under the ROC curve, in each domain, of an attack that the audit finds."""


@styled
def gate_by_timestep(records: Sequence[Record]) -> Figure:
    """λ on clean and attacked photographs against the timestep: mean and middle half."""
    gated = [record for record in records if "timestep" in record.series]
    domains = list(dict.fromkeys(record.settings["domain"] for record in gated))
    defences = list(dict.fromkeys(record.settings["defence"] for record in gated))
    figure, axes = panels(
        len(defences), len(domains), 1.9 * len(defences) + 0.4, sharex=True, sharey=True
    )
    for record in gated:
        defence, domain = (record.settings[name] for name in ("defence", "domain"))
        panel = axes[defences.index(defence), domains.index(domain)]
        for name, colour, style in (("clean", BLUE, "-o"), ("attacked", VERMILION, "--s")):
            _lambda(panel, record, record.series["timestep"], name, style, colour, name)
        panel.set(title=f"{DEFENCE_NAMES[defence]}, {domain}", ylim=(0, 1))
    for panel in axes[-1]:
        panel.set_xlabel("timestep (noise →)")
    for panel in axes[:, 0]:
        panel.set_ylabel("gate λ")
    axes[0, 0].legend()
    return mark(figure, gated)


@styled
def sampled_gates(records: Sequence[Record]) -> Figure:
    """λ while sampling, and on the photographs that the LoRA learned from, noised as much."""
    figure, places = by_domain(records, 2.6)
    for panel, record in places:
        for kind, style in (("photographs", "--"), ("samples", "-")):
            steps = record.series[f"{kind}/timestep"]
            for name, colour in (("clean", BLUE), ("attacked", VERMILION)):
                label = f"{name} photographs"
                label = label if kind == "photographs" else f"samples of the LoRA on {label}"
                _lambda(panel, record, steps, f"{kind}/{name}", style, colour, label)
        panel.set(xlabel="timestep (noise →)", ylim=(0, 1))
    places[0][0].set_ylabel("gate λ")
    legend(figure)
    return mark(figure, records)


def _lambda(
    panel: Axes,
    record: Record,
    steps: Sequence[float],
    name: str,
    style: str,
    colour: str,
    label: str,
) -> None:
    """The mean of λ over images, in the band of its middle half."""
    curve = [record.series[f"{name}_{end}"] for end in ("mean", "low", "high")]
    band(panel, steps, curve, style, colour, label, alpha=0.2, markersize=3.5)


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


@where_planned
def audit_findings(records: Sequence[Record]) -> Markdown:
    """Which attacks the audit finds at the budget of the study, and what it says of clean pictures.

    An attack counts as found where nearly every photograph scores above a clean one, see `FOUND`.
    """
    levels = records[0].settings["budget"]["eps_levels"]
    areas = [_areas(record) for record in records]
    tried = [name for name in ATTACK_NAMES if (name, levels) in areas[0] and name != "noise"]
    missed = [name for name in tried if min(cells[name, levels] for cells in areas) < FOUND]
    said = fmean(record.metrics["probability/clean/0"] for record in records)
    text = f"At {levels:g} of 255 grey levels the audit finds {len(tried) - len(missed)} of "
    text += f"{count(len(tried), 'attack')}. That is, in every domain an attacked photograph "
    text += f"outscores a clean one in at least {FOUND:.0%} of pairs."
    if missed:
        text += f" It misses {listed([ATTACK_NAMES[name] for name in missed])}."
    return Markdown(f"{text} A clean photograph is given a probability of {said:.0%}, on average.")


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


@styled
def gate_grid(records: Sequence[Record], compared: Sequence[Record]) -> Figure:
    """FID for λ while stage 2 learns (rows) and while sampling (columns), shaded by logarithm."""
    table, keys = _fixed(records, compared), metric_keys(compared)
    fixed = [gate for gate in table["stage2_gate"].unique() if gate != "learned"]
    gates = ["learned", *sorted(fixed)]
    treatments = sorted(
        table["treatment"].unique(), key=lambda t: (t == "dropped", t.startswith("lambda"), t)
    )
    words = [treatment_name(t).replace("learned λ, prior", "prior") for t in treatments]
    domains, height = table["domain"].unique(), 0.32 * len(gates) + 1.3
    figure, axes, places = grid(["fid"], domains, height, sharey=True)
    for panel, name, domain in places:
        cells = table[table["domain"] == domain].set_index(["stage2_gate", "treatment"])[name]
        values = np.array([[cells.get((g, t), np.nan) for t in treatments] for g in gates])
        texts = [[number(v) if np.isfinite(v) else "" for v in row] for row in values]
        shades = np.log(values)
        shades = (shades - np.nanmin(shades)) / max(np.nanmax(shades) - np.nanmin(shades), 1e-9)
        names, tilted = list(map(_gate_name, gates)), {"rotation": 40, "ha": "right"}
        matrix(panel, shades, texts, names, words, limit=1, white=0.6, **tilted)
    axes[0, 0].set_ylabel("in stage 2")
    below = [f"while sampling ({metric_label(keys['fid'])})"]
    below += [scale_words(keys["fid"], compared, domains)]
    figure.supxlabel("\n".join(filter(None, below)), fontsize=9)
    return mark(figure, [*records, *compared])


@where_planned
def gate_findings(records: Sequence[Record], compared: Sequence[Record]) -> Markdown:
    """For each domain, in words: the learned gate in both places, and the best of every pair.

    And how often, of all gates, the learned λ is worse than ½ while sampling.
    """
    table, lines = _fixed(records, compared), []
    for domain, cells in table.groupby("domain", sort=False):
        cells = cells[cells["treatment"] != "dropped"]
        stage2 = cells["stage2_gate"] == "learned"
        sampling = cells["treatment"] == "learned"
        for words, part in (
            ("with the learned λ in both places", cells[stage2 & sampling]),
            ("at best", cells),
            ("at best with the learned λ in stage 2", cells[stage2]),
            ("at best with the learned λ while sampling", cells[sampling]),
        ):
            if len(part):
                best = part.loc[part["fid"].idxmin()]
                pair = (_gate_name(best["stage2_gate"]), treatment_name(best["treatment"]))
                lines.append(f"- {domain}, {words}: {number(best['fid'])} ({', then '.join(pair)})")
    rows = tables.condition_rows([*records, *compared], records[0].kind)
    cells = rows.pivot(
        index=["domain", "variant", "subject", "seed"], columns="treatment", values="fid"
    ).reindex(columns=["learned", "lambda=0.5"])
    worse, both = (cells["learned"] > cells["lambda=0.5"]).sum(), len(cells.dropna())
    if both:
        lines.append(f"- while sampling, learned is worse than ½ in {worse} of {both} cells")
    basis = f"The {metric_name(metric_keys(compared)['fid'])} where the adapter stays on:"
    return Markdown("\n".join([basis, "", *lines]))


def _fixed(records: Sequence[Record], compared: Sequence[Record]) -> pd.DataFrame:
    """The rows in which nothing but λ is changed."""
    table = table_of(records, compared)
    return table[(table["variant"] == UNCHANGED) | (table["stage2_gate"] != "learned")]


def _gate_name(gate: str | float) -> str:
    """λ in stage 2, as treatments are named."""
    return treatment_name("learned" if gate == "learned" else f"lambda={gate:g}")
