"""Variants of the study compared: what changes when one thing does."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas.io.formats.style import Styler

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import UNCHANGED
from lord.record import Record
from lord.show.panels import band, grid, interval, legend, panels, plain, ranking
from lord.show.pictures import mosaic, sample_tiles
from lord.show.results import JUDGED, judged_keys
from lord.show.scale import scale_lines
from lord.show.style import (
    ATTACK_NAMES,
    BLUE,
    DEFENCE_NAMES,
    VERMILION,
    condition_colour,
    condition_name,
    defence_name,
    mark,
    metric_keys,
    metric_label,
    metric_name,
    number,
    styled,
    treatment_name,
    where_planned,
)
from lord.show.tables import in_book_order, metric_table
from lord.show.words import capitalised, listed

DROPPED = ("none", "dropped")
"""The treatments that leave nothing of a defence in the model that is sampled."""


@where_planned
def ablation_table(
    records: Sequence[Record],
    compared: Sequence[Record],
    stands_out: Literal["best", "worst", "none"] = "best",
) -> Styler:
    """Every variant with its metrics, and the share of the damage that the defence repairs.

    Args:
        stands_out: of each domain and attack, among the rows with a defence; the worst, of each
            defence.
    """
    table = _in_order(table_of(records, compared))
    heads = [[ATTACK_NAMES[attack] for attack in table["attack"]], _names(table)]
    repaired = table[["fid_closed", "clip_iqa_closed"]].map(_share)
    further = {
        "FID gap closed": repaired["fid_closed"],
        "quality gap closed": repaired["clip_iqa_closed"],
    }
    further = {name: shares for name, shares in further.items() if shares.any()}
    competing = (table["defence"] != "none") & (stands_out != "none")
    worst = stands_out == "worst"
    among = ["domain", "attack", *["defence"] * worst]
    return metric_table(table, heads, [*records, *compared], competing, among, worst, further)


@styled
def ablation_figure(records: Sequence[Record], compared: Sequence[Record]) -> Figure:
    """FID and quality score of every variant, from the lowest to the highest cell around the mean.

    Ticks are the means of LoRAs without a defence, on clean photographs and under the attack.
    """
    table = _in_order(table_of(records, compared))
    table = table[table["defence"] != "none"]
    places = list(dict.fromkeys(zip(table["attack"], table["variant"], strict=True)))
    kinds = list(dict.fromkeys(zip(table["defence"], table["treatment"], strict=True)))
    each, apart = 0.15 + 0.1 * len(kinds), min(0.3, 0.75 / len(kinds))
    height = len(JUDGED) * (each * len(places) + 0.5) + 0.5
    several = table["attack"].nunique() > 1
    names = [f"{ATTACK_NAMES[a]}: " * several + _words(variant) for a, variant in places]
    figure, drawn = ranking(judged_keys(compared), table["domain"].unique(), names, height)
    for panel, name, domain in drawn:
        for cell in table[table["domain"] == domain].to_dict("records"):
            kind = kinds.index((cell["defence"], cell["treatment"]))
            place = places.index((cell["attack"], cell["variant"]))
            _tick(panel, cell[f"{name}_clean"], place, BLUE, "LoRA, clean photos")
            if cell["attack"] != "none":
                attacked = cell[f"{name}_attacked"]
                _tick(panel, attacked, place, VERMILION, "LoRA, attacked photos")
            place += apart * (kind - (len(kinds) - 1) / 2)
            colour = condition_colour(cell["attack"], cell["defence"])
            interval(panel, cell, name, place, colour, label=_who(cell))
    legend(figure)
    return mark(figure, [*records, *compared])


def _tick(panel: Axes, value: float, place: float, colour: str, label: str) -> None:
    panel.plot(value, place, "|", color=colour, markersize=9, markeredgewidth=2, label=label)


@styled
def ablation_samples(records: Sequence[Record], compared: Sequence[Record]) -> Figure:
    """Every variant of the first attack: photographs learned from, and samples, three of each.

    Of one subject of each domain; what can be dropped before sampling is.
    """
    same = {key: [records[0].settings[key]] for key in ("subject", "seed", "attack_name")}
    first = [r.settings for r in records if r.settings["attack_name"] in same["attack_name"]]
    same |= {"defence": {own["defence"] for own in first}, "treatment": DROPPED}
    rows: dict[tuple[str, str, str], dict[str, Record]] = {}
    for record in [*(r for r in compared if r.kind == "main"), *records]:
        own = record.settings
        if all(own[key] in values for key, values in same.items()):
            name = (own.get("variant", UNCHANGED), own["defence"], own["treatment"])
            rows.setdefault(name, {})[own["domain"]] = record
    table = pd.DataFrame(rows.keys(), columns=["variant", "defence", "treatment"])
    domains = list(dict.fromkeys(record.settings["domain"] for record in records))
    figure, axes = panels(len(rows), len(domains), 0.72 * len(rows) + 0.3)
    for row, name, cells in zip(axes, _names(table), rows.values(), strict=True):
        row[0].set_title(name, loc="left", fontsize=8, pad=2)
        for panel, domain in zip(row, domains, strict=True):
            plain(panel)
            samples, photographs = (mosaic(tiles[:3]) for tiles in sample_tiles(cells[domain]))
            gap = np.ones((len(samples), 8, 3))
            panel.imshow(np.concatenate((photographs, gap, samples), axis=1))
    for panel, domain in zip(axes[-1], domains, strict=True):
        panel.set_xlabel(domain)
    return mark(figure, [*records, *compared])


@styled
def rank_curves(records: Sequence[Record], compared: Sequence[Record]) -> Figure:
    """FID and quality score against the rank, on clean and attacked photos and behind LoRD."""
    table = table_of(records, compared)
    table = table.sort_values(["defence", "attack", "treatment", "rank"])
    labels = list(map(condition_name, table["attack"], table["defence"], table["treatment"]))
    styles = np.where(table["treatment"] == "learned", "--s", "-o")
    table = table.assign(label=labels, style=styles)
    figure, axes = _curves(table, compared, "rank", "rank r", 4.4)
    ranks = sorted(table["rank"].unique())
    for panel in axes.flat:
        panel.set_xscale("log", base=2)
        panel.set_xticks(ranks, ranks)
    return mark(figure, [*records, *compared])


DOSES = {"attacked_share": "share of attacked photographs", "eps_levels": "ε, grey levels of 255"}
"""How much can be attacked, and what to call it."""


@styled
def dose_curves(records: Sequence[Record], compared: Sequence[Record], dose: str) -> Figure:
    """FID and the quality score against one of `DOSES`, of LoRAs with and without a defence."""
    table = tables.dose_table([*records, *compared], records[0].kind, dose)
    labels = list(map(defence_name, table["defence"], table["treatment"]))
    table = table.assign(attack="ace", style="-o", label=labels)
    figure, axes = _curves(table, compared, dose, DOSES[dose], 4.2)
    for panel in axes.flat:
        panel.set_xticks(sorted(table[dose].unique()))
        if dose == "attacked_share":
            panel.xaxis.set_major_formatter("{x:.0%}")
    return mark(figure, [*records, *compared])


def _curves(
    table: pd.DataFrame, compared: Sequence[Record], over: str, words: str, height: float
) -> tuple[Figure, NDArray[Any]]:
    """The means of metrics as lines, in bands from the lowest to the highest cell.

    A line for each ``label`` of the table, in its ``style``.
    """
    keys, domains = judged_keys(compared), table["domain"].unique()
    figure, axes, places = grid(JUDGED, domains, height, sharex=True, sharey="row")
    for panel, name, domain in places:
        for label, curve in table[table["domain"] == domain].groupby("label", sort=False):
            own = curve.iloc[0]
            colour = condition_colour(own["attack"], own["defence"])
            values = [curve[f"{name}{end}"] for end in ("", "_low", "_high")]
            band(panel, curve[over], values, own["style"], colour, label, alpha=0.15)
    scale_lines(places, keys["fid"], compared)
    for panel, name in zip(axes[:, 0], JUDGED, strict=True):
        panel.set_ylabel(metric_label(keys[name]))
    for panel in axes[-1]:
        panel.set_xlabel(words)
    legend(figure)
    return figure, axes


def table_of(records: Sequence[Record], compared: Sequence[Record]) -> pd.DataFrame:
    return tables.ablation_table([*records, *compared], records[0].kind)


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    """By domain and attack, in these by variant, the unchanged one first."""
    variants = [UNCHANGED, *(v for v in table["variant"].unique() if v != UNCHANGED)]
    places = [variants.index(variant) for variant in table["variant"]]
    return in_book_order(table.iloc[np.argsort(places, kind="stable")])


def _words(variant: str) -> str:
    return variant.replace("_", " ")


def _names(table: pd.DataFrame) -> list[str]:
    """What to call the rows: the variant and, where several are compared, defence or treatment."""
    names = [_words(variant) for variant in table["variant"]]
    if table["defence"].nunique() > 1:
        return [f"{n}: {_who(row)}" for n, row in zip(names, table.to_dict("records"), strict=True)]
    if table["treatment"].nunique() > 1:
        treatments = map(treatment_name, table["treatment"])
        return [f"{n}: {treatment}" for n, treatment in zip(names, treatments, strict=True)]
    return names


def _who(cell: Mapping[str, str]) -> str:
    return defence_name(cell["defence"], cell["treatment"])


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{value:z.0%}"


@where_planned
def choice_findings(records: Sequence[Record], compared: Sequence[Record]) -> Markdown:
    """The FID of every variant, in words, as the mean over domains of the mean over cells."""
    means = _in_order(table_of(records, compared)).groupby("variant", sort=False)["fid"].mean()
    values = [f"- {_words(variant)}: {number(value)}" for variant, value in means.items()]
    name = metric_name(metric_keys(compared)["fid"])
    basis = f"The mean {name} over domains and identities, lowest for {_words(means.idxmin())}:"
    return Markdown("\n".join([basis, "", *values]))


@where_planned
def ablation_findings(records: Sequence[Record], compared: Sequence[Record]) -> Markdown:
    """For each domain, attack and defence, in words: which variants repair least and most.

    With the defence dropped, if it can be. And which are worse than unchanged in every cell.
    """
    table = _in_order(table_of(records, compared))
    table = table[table["treatment"].isin(DROPPED)].dropna(subset=["fid_closed"])
    several, lines = table["defence"].nunique() > 1, []
    for place, cells in table.groupby(["domain", "attack", "defence"], sort=False):
        domain, attack, defence = place
        parts = [
            f"unchanged {_share(v)}" for v in cells["fid_closed"][cells["variant"] == UNCHANGED]
        ]
        others = cells[cells["variant"] != UNCHANGED].set_index("variant")
        shares = others["fid_closed"].sort_values(kind="stable")
        extreme = dict.fromkeys([*shares.index[:1], *shares.index[-1:]])
        if ends := [f"{_share(shares[name])} ({_words(name)})" for name in extreme]:
            parts.append(f"otherwise {' to '.join(ends)}")
        if len(worse := others.index[others["fid_worse"] == others["cells"]]):
            parts.append(f"worse in every cell: {listed([_words(name) for name in worse])}")
        who = f", {DEFENCE_NAMES[defence]}" * several
        lines.append(
            f"- {domain}, {ATTACK_NAMES[attack]}{who}: {'. '.join(map(capitalised, parts))}"
        )
    name = metric_name(metric_keys(compared)["fid"])
    basis = f"How much of the attack's gap in {name} closes, with the defence dropped if it can be:"
    return Markdown("\n".join([basis, "", *lines]))
