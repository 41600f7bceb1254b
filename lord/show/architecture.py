"""The architecture of a latent diffusion model as a picture, each part coloured by its damage."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from lord.experiments.components.tables import paired_table
from lord.record import Record
from lord.show.panels import plain
from lord.show.style import WIDTH, mark, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = {
    "residual": "residual",
    "attention.self": "self-att.",
    "attention.cross": "cross-att.",
    "feed_forward": "feed-fwd",
}
"""What a block of the denoiser is made of, from the top down, with the words on it."""

AROUND = {
    "encoder": "encoder",
    "quant_conv": "quant",
    "conv_in": "conv in",
    "conv_out": "conv out",
    "post_quant_conv": "quant⁻¹",
    "decoder": "decoder",
}
"""What stands before and after the blocks, in the order of the data."""

BEFORE = ("encoder", "quant_conv", "conv_in")
WIDE, HIGH, GAP = 1.3, 0.36, 0.22


def architecture(
    records: Sequence[Record], measure: str = "psnr", task: str = "variation"
) -> "Figure":
    """Draw the model of the records of `component_damage`, a panel for each domain.

    A part's colour is the attack's lead over noise of its energy, in dB of PSNR between edits (or
    in another measure), darker where the part breaks more; hatched where 0 is in its interval. A
    part that nobody attacked is white. Blocks of the U-Net stand as high as their resolution.
    """
    chosen = [r for r in records if r.settings["task"] == task]
    return styled(_draw)(chosen, measure)


def _draw(records: Sequence[Record], measure: str) -> "Figure":
    rows = paired_table(records)
    domains = list(dict.fromkeys(rows["domain"]))
    figure, panels = plt.subplots(
        len(domains), 1, figsize=(WIDTH, 2.1 * len(domains) + 0.6), squeeze=False
    )
    column = f"lead_{measure}"
    shades = Normalize(0, max(float(rows[column].max()), 1e-9))
    for panel, domain in zip(panels[:, 0], domains, strict=True):
        of_domain = rows[rows["domain"] == domain].set_index("component")
        found = {
            name: (row[column], row[f"{column}_low"] <= 0) for name, row in of_domain.iterrows()
        }
        _draw_model(panel, found, shades)
        panel.set_title(domain)
    scale = ScalarMappable(shades, cmap="Oranges")
    words = {"psnr": "dB of PSNR lost beyond noise"}.get(measure, f"{measure} lost beyond noise")
    figure.colorbar(scale, ax=list(panels[:, 0]), label=words, orientation="horizontal", shrink=0.6)
    return mark(figure, records)


def places(names: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Left and top of each part by name, for a model with these components."""
    stages = list(dict.fromkeys(_stage(name) for name in names if name not in AROUND))
    levels = sum(stage.startswith("down") for stage in stages)
    found, left = {}, 0.0
    for name in [name for name in AROUND if name in BEFORE and name in names]:
        found[name] = (left, 0.0)
        left += WIDE + GAP
    for stage in stages:
        kind, _, number = stage.partition(".")
        depth = {"down": int(number or 0), "mid": levels}.get(kind, levels - 1 - int(number or 0))
        parts = [part for part in KINDS if f"{stage}.{part}" in names]
        for k, part in enumerate(parts):
            found[f"{stage}.{part}"] = (left, -0.5 * depth - k * HIGH)
        left += WIDE + GAP
    for name in [name for name in AROUND if name not in BEFORE and name in names]:
        found[name] = (left, 0.0)
        left += WIDE + GAP
    return found


def _stage(name: str) -> str:
    """``down.0`` of ``down.0.attention.self``, ``mid`` of ``mid.residual``."""
    first, second, *_ = name.split(".")
    return f"{first}.{second}" if second.isdigit() else first


def _draw_model(panel: Axes, found: Mapping[str, tuple[float, bool]], shades: Normalize) -> None:
    parts = places(_whole(found))
    colours = plt.get_cmap("Oranges")
    for name, (left, top) in parts.items():
        value, unsure = found.get(name, (np.nan, False))
        shade = 0.0 if np.isnan(value) else float(np.clip(shades(value), 0, 1))
        box = FancyBboxPatch(
            (left, top - HIGH),
            WIDE,
            HIGH * 0.92,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor="white" if np.isnan(value) else colours(shade),
            edgecolor="#555555",
            linewidth=0.6,
            hatch="////" if unsure else None,
            label=name,
        )
        panel.add_patch(box)
        words = AROUND.get(name) or KINDS[name.removeprefix(f"{_stage(name)}.")]
        panel.text(
            left + WIDE / 2,
            top - HIGH / 2,
            words,
            ha="center",
            va="center",
            fontsize=4.8,
            color="white" if shade > 0.65 else "black",
        )
    _label_stages(panel, parts)
    lefts = sorted({left for left, _ in parts.values()})
    tops = {left: max(top for x, top in parts.values() if x == left) for left in lefts}
    for one, other in itertools.pairwise(lefts):
        panel.add_patch(
            FancyArrowPatch(
                (one + WIDE, tops[one] - HIGH / 2),
                (other, tops[other] - HIGH / 2),
                arrowstyle="-|>",
                mutation_scale=4,
                linewidth=0.6,
                color="#555555",
            )
        )
    lowest = min(top for _, top in parts.values()) - HIGH
    panel.set_xlim(-0.2, lefts[-1] + WIDE + 0.2)
    panel.set_ylim(lowest - 0.2, 0.55)
    plain(panel)


def _whole(found: Mapping[str, object]) -> list[str]:
    """All parts of the model, those around the blocks included, in the order of the data."""
    blocks = [name for name in found if name not in AROUND and "*" not in name]
    stages = sorted({_stage(name) for name in blocks}, key=_order)
    inside = [f"{stage}.{kind}" for stage in stages for kind in KINDS]
    return [*BEFORE, *inside, *(name for name in AROUND if name not in BEFORE)]


def _order(stage: str) -> tuple[int, int]:
    kind, _, number = stage.partition(".")
    return ["down", "mid", "up"].index(kind), int(number or 0)


def _label_stages(panel: Axes, parts: Mapping[str, tuple[float, float]]) -> None:
    """The name of each block above its parts, and the skip connections between blocks."""
    tops: dict[str, tuple[float, float]] = {}
    for name, (left, top) in parts.items():
        if name not in AROUND:
            tops.setdefault(_stage(name), (left, top))
    for stage, (left, top) in tops.items():
        panel.text(left + WIDE / 2, top + 0.04, stage, ha="center", va="bottom", fontsize=5.5)
    levels = sum(stage.startswith("down") for stage in tops)
    for level in range(levels):
        ends = tops.get(f"down.{level}"), tops.get(f"up.{levels - 1 - level}")
        if None not in ends:
            (left, top), (right, _) = ends
            curve = f"arc3,rad=-{0.12 - 0.02 * level:.2f}"
            panel.add_patch(
                FancyArrowPatch(
                    (left + WIDE, top),
                    (right, top),
                    arrowstyle="-|>",
                    mutation_scale=4,
                    linewidth=0.5,
                    linestyle=":",
                    color="#999999",
                    connectionstyle=curve,
                )
            )
