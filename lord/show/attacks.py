"""Attacks compared: what they look like, what they do at which budget, and what they cost."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter
from pandas.io.formats.style import Styler

from lord.experiments.lord import tables
from lord.experiments.lord.ace import AMPLIFIED
from lord.record import Record
from lord.show.panels import grid, legend, matrix
from lord.show.pictures import labelled_rows, sample_tiles
from lord.show.results import judged_keys
from lord.show.scale import scale_lines, scale_words
from lord.show.style import (
    ATTACK_NAMES,
    BLUE,
    GREEN,
    VERMILION,
    LeftOut,
    caveats,
    higher_is_better,
    mark,
    metric_keys,
    metric_label,
    metric_name,
    number,
    styled,
    where_planned,
    with_interval,
)
from lord.show.tables import metric_table
from lord.show.words import capitalised

ENOUGH = 0.9
"""The share of the largest damage at which further steps are hardly worth it."""


@styled
def attack_pictures(records: Sequence[Record], domain: str) -> Figure:
    """The same photograph after every attack, the change, and what a LoRA makes of it.

    At the budget of the main table; each row has the attacked photograph, its amplified difference
    to the clean one, and four samples of a LoRA trained on photographs attacked like that.

    Args:
        records: of main and damage.
    """
    found = of_every_attack(records, domain)
    clean = sample_tiles(found["none"])[1, 0]
    rows = {}
    for name in filter(found.get, ATTACK_NAMES):
        samples, (attacked, *_) = sample_tiles(found[name])
        change = (0.5 + AMPLIFIED * (attacked - clean)).clip(0, 1)
        rows[ATTACK_NAMES[name]] = np.stack([attacked, change, *samples[:4]])
    return mark(labelled_rows(rows), list(found.values()))


def of_every_attack(records: Sequence[Record], domain: str) -> dict[str, Record]:
    """The records of one subject and seed without a defence, by attack, in the main table's budget.

    Args:
        records: of main and damage.

    Raises:
        LeftOut: there are none of damage on this domain.
    """
    damaged = (r for r in records if r.kind == "damage" and r.settings["domain"] == domain)
    if (first := next(damaged, None)) is None:
        raise LeftOut
    place = {name: first.settings[name] for name in ("domain", "subject", "seed", "defence")}
    eps = main_eps(records)
    return {
        record.settings["attack_name"]: record
        for record in records
        if record.kind != "steps"
        and place.items() <= record.settings.items()
        and record.settings.get("attack", {"eps": eps})["eps"] == eps
    }


def main_eps(records: Sequence[Record]) -> float:
    """The ε of the main table, in [0, 1] pixel units."""
    attacked = next(r for r in records if r.kind == "main" and "attack" in r.settings)
    return attacked.settings["attack"]["eps"]


@styled
def damage_matrix(records: Sequence[Record], name: str) -> Figure:
    """A metric for each attack and ε; the darker a cell, the worse the LoRA, on a domain's scale.

    Args:
        records: of main and damage.
        name: ``"fid"``, ``"clip_iqa"`` or ``"identity"``.
    """
    table, decimals = _damage(records), 0 if name == "fid" else 2
    levels = sorted(table["eps_levels"].unique())[1:]
    attacks = [attack for attack in table["attack"].unique() if attack != "none"]
    domains, height = table["domain"].unique(), 0.27 * len(attacks) + 1.0
    figure, _, places = grid([name], domains, height, sharey=True)
    for panel, _, domain in places:
        part = table[table["domain"] == domain]
        values = part.pivot(index="attack", columns="eps_levels", values=name)
        clean = values.loc["none", 0]
        values = values.loc[attacks, levels].to_numpy()
        harm = clean - values if higher_is_better(name) else values - clean
        matrix(
            panel,
            harm.clip(0),
            [[f"{value:.{decimals}f}" for value in row] for row in values],
            [ATTACK_NAMES[attack] for attack in attacks],
            [f"{level:g}" for level in levels],
            limit=1.25 * max(harm.max(), 1e-9),
        )
        panel.set_xlabel("ε, grey levels of 255")
        panel.set_title(f"{domain} (clean: {clean:.{decimals}f})")
    if name == "fid":
        key = metric_keys(records)[name]
        figure.supxlabel(scale_words(key, records, domains), fontsize=8.5)
    return mark(figure, records)


@where_planned
def damage_findings(records: Sequence[Record]) -> Markdown:
    """Which attacks do more damage than noise of the same ε, and which one does most of all.

    At the ε of the main table, on the same subjects and seeds; where there are several, an attack
    counts as worse only if the interval of the difference says so.

    Args:
        records: of main and damage.
    """
    keys, levels = metric_keys(records), round(main_eps(records) * 255, 6)
    margins = tables.noise_margins(records)
    if margins.empty:
        raise LeftOut
    judged = margins["metric"].isin(("fid", "clip_iqa"))
    margins = margins[judged & (margins["eps_levels"] == levels)]
    margins = margins.assign(worse=margins["margin_low"].fillna(margins["margin"]) > 0)
    lines = []
    for (domain, name), cells in margins.groupby(["domain", "metric"], sort=False):
        most = cells.loc[cells["margin"].idxmax()]
        line = f"- {domain}, {metric_name(keys[name])}: {cells['worse'].sum()} of {len(cells)} "
        line += "attacks are worse than noise"
        if most["worse"]:
            line += (
                f"; {ATTACK_NAMES[most['attack']]} most of all, by {with_interval(most, 'margin')}"
            )
        lines.append(f"{line}.")
    ever = margins.groupby("attack")["worse"].any()
    harmless = [words for attack, words in ATTACK_NAMES.items() if not ever.get(attack, True)]
    lines.append(
        f"- Nowhere worse than noise: {', '.join(harmless)}."
        if harmless
        else "- Every attack is worse than noise somewhere."
    )
    cells = {(r.settings["subject"], r.settings["seed"]) for r in records if r.kind == "damage"}
    basis = f"At {levels:g} of 255 grey levels, on {len(cells)} pairs of subject and seed:"
    if len(cells) == 1:
        basis = (
            f"At {levels:g} of 255 grey levels, on one subject and seed of each domain. "
            "There are no intervals, and only large differences mean something:"
        )
    return Markdown("\n".join([basis, "", *lines]))


@where_planned
def damage_table(records: Sequence[Record]) -> Styler:
    """Every attack at the budget of the main table; the most damaging of a domain stands out."""
    table = _at_main_eps(records)
    return metric_table(
        table,
        [[ATTACK_NAMES[name] for name in table["attack"]]],
        records,
        ~table["attack"].isin(("none", "noise")),
        worst=True,
        further={"SSIM of photographs": table["ssim"].map("{:.3f}".format)},
    )


@where_planned
def visibility_findings(records: Sequence[Record]) -> Markdown:
    """Which attack shows most and which least at the budget of the main table, by the mean SSIM.

    Args:
        records: of main and damage.
    """
    ssim = _at_main_eps(records).groupby("attack")["ssim"].mean()
    attacks = ssim.drop(["none", "noise"])
    most, least = attacks.idxmin(), attacks.idxmax()
    levels = main_eps(records) * 255
    return Markdown(
        f"All attacks may change a pixel by {levels:g} of 255 grey levels. "
        f"{ATTACK_NAMES[most]} shows most: its photographs have a structural similarity of "
        f"{ssim[most]:.2f} to the clean ones. {capitalised(ATTACK_NAMES[least])} shows least, with "
        f"{ssim[least]:.2f}; uniform noise has {ssim['noise']:.2f}."
    )


def _at_main_eps(records: Sequence[Record]) -> pd.DataFrame:
    """The comparison of attacks at the budget of the main table."""
    table, levels = _damage(records), (0, round(main_eps(records) * 255, 6))
    return table[table["eps_levels"].isin(levels)].reset_index(drop=True)


def _damage(records: Sequence[Record]) -> pd.DataFrame:
    """The comparison of attacks, from clean and noise on in the order of the book."""
    table = _compared(records, "damage")
    order = table["attack"].map(list(ATTACK_NAMES).index)
    domains = table["domain"].map(list(table["domain"].unique()).index)
    return table.assign(place=domains, order=order).sort_values(
        ["place", "order", "eps_levels"], ignore_index=True
    )


@styled
def step_curves(records: Sequence[Record]) -> Figure:
    """Metrics against the number of gradient steps of ACE, without and with surrogate rounds.

    Args:
        records: of main and steps.
    """
    table, keys = _steps(records), judged_keys(records)
    domains = table["domain"].unique()
    figure, axes, places = grid(list(keys), domains, 4.2, sharex=True, sharey="row")
    for panel, name, domain in places:
        part = table[table["domain"] == domain].sort_values("steps")
        attacked = part[part["attack"] == "ace"]
        clean = part.loc[part["attack"] == "none", name].item()
        panel.axhline(clean, color=BLUE, linestyle=":", label="clean")
        for rounds, curve in attacked.groupby("rounds"):
            style, colour, label = "--s", GREEN, f"{rounds} rounds, surrogate learns"
            if rounds == 1:
                style, colour, label = "-o", VERMILION, "base model attacked"
            panel.plot(curve["steps"], curve[name], style, color=colour, label=label)
        panel.set_xscale("log")
        panel.set_xticks(sorted(attacked["steps"].unique()))
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_locator(NullLocator())
    scale_lines(places, keys["fid"], records)
    for panel, key in zip(axes[:, 0], keys.values(), strict=True):
        panel.set_ylabel(metric_label(key).replace("embedded ", "embedded\n"))
    for panel in axes[-1]:
        panel.set_xlabel("gradient steps")
    legend(figure, columns=3)
    return mark(figure, records)


@where_planned
def step_findings(records: Sequence[Record]) -> Markdown:
    """How soon ACE has done most of its damage, and whether surrogate rounds add to it.

    Args:
        records: of main and steps.
    """
    lines, table, key = [], _steps(records), metric_keys(records)["fid"]
    for domain, part in table.groupby("domain", sort=False):
        clean = part.loc[part["attack"] == "none", "fid"].item()
        curves = part[part["attack"] == "ace"].pivot(index="steps", columns="rounds", values="fid")
        usual = curves[1].sort_index() - clean
        if usual.max() <= 0:
            lines.append(f"- {domain}: no number of steps harms the {metric_name(key)}.")
            continue
        enough = usual.index[usual >= ENOUGH * usual.max()][0]
        line = f"- {domain}: {ENOUGH:.0%} of the largest damage to the {metric_name(key)} takes "
        line += f"{enough} of {usual.index[-1]} gradient steps."
        for rounds in curves.columns.drop(1):
            more = (curves[rounds] - curves[1]).dropna().mean()
            line += f" With a surrogate in {rounds} rounds it is {number(abs(more))} "
            line += f"{'higher' if more > 0 else 'lower'}, on average over equal steps."
        lines.append(line)
    return Markdown("\n".join(lines))


def _steps(records: Sequence[Record]) -> pd.DataFrame:
    """The comparison of how long ACE runs."""
    return _compared(records, "steps")


def _compared(records: Sequence[Record], experiment: str) -> pd.DataFrame:
    """One of the comparisons of `tables.attack_table`.

    Raises:
        LeftOut: the profile has no such experiment.
    """
    if all(record.kind != experiment for record in records):
        raise LeftOut
    table = tables.attack_table(records)
    return table[table["experiment"] == experiment]


@where_planned
def performance_table(records: Sequence[Record]) -> Styler:
    """One gradient step of each attack: milliseconds per image, and how that compares."""
    table = tables.performance_table(records)
    table = table[table["experiment"] == "performance"]
    names = {"floor": "floor", "naive": "ACE+, naive loop"} | ATTACK_NAMES
    shown = pd.DataFrame(
        {
            "ms per image": 1000 * table["seconds_per_image"],
            "× the floor": table["times_the_floor"],
        }
    ).set_index(pd.Index([names[name] for name in table["step"]]))
    styler = shown.style.format("{:.2f}").format("{:.1f}", subset=["ms per image"])
    return styler.set_table_attributes('class="dataframe"')


@where_planned
def performance_findings(records: Sequence[Record]) -> Markdown:
    """How much faster ACE+ takes a gradient step in a batch than in its public loop, in words."""
    (record,) = records
    times = record.metrics["ace_plus/faster_than_naive"]
    text = f"In a batch with one encoder pass, a step of ACE+ is {times:.1f} times as fast"
    return Markdown(" ".join([f"{text} as its public loop.", *caveats(records)]))
