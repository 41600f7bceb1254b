"""The results: conditions and test-time treatments compared, as figures and as tables."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import PROPOSED
from lord.record import Record
from lord.show.panels import interval, legend, panels, ranking
from lord.show.scale import scale_lines
from lord.show.style import (
    ATTACK_NAMES,
    BLUE,
    CYCLE,
    DEFENCE_NAMES,
    condition_colour,
    condition_name,
    defence_name,
    mark,
    metric_keys,
    metric_name,
    styled,
    treatment_name,
    where_planned,
)
from lord.show.tables import difference_table, in_book_order, metric_table
from lord.study.run import run

# The metrics on which attacks and defences are judged.
JUDGED = ("fid", "clip_iqa")


def judged_keys(records: Sequence[Record]) -> dict[str, str]:
    """The `metric_keys` of these."""
    return {name: metric_keys(records)[name] for name in JUDGED}


def result_records(profile: str) -> list[Record]:
    """The records behind the results: those that chose the treatments, and the main ones.

    Raises:
        FileNotFoundError: some are missing; the message says how to compute them.
    """
    names = ("selection", "main")
    found = [run(profile, s, compute=False) for s in names]
    return [record for records in found for record in records]


@styled
def treatment_comparison(records: Sequence[Record]) -> Figure:
    """FID and quality score of every test-time treatment; filled: the one chosen elsewhere.

    Vertical lines are LoRAs without a defence.
    """
    table, conditions = tables.treatment_table(records), tables.main_table(records)
    defences, treatments = (list(table[name].unique()) for name in ("defence", "treatment"))
    height = len(JUDGED) * (0.3 * len(treatments) + 0.55) + 0.7
    names = list(map(treatment_name, treatments))
    figure, drawn = ranking(judged_keys(records), table["domain"].unique(), names, height)
    for panel, name, domain in drawn:
        undefended = _where(conditions, domain=domain, defence="none").set_index("attack")
        for attack, style in (("none", ":"), ("ace", "--")):
            label, colour = condition_name(attack, "none"), condition_colour(attack, "none")
            panel.axvline(undefended.loc[attack, name], color=colour, linestyle=style, label=label)
        for cell in table[table["domain"] == domain].to_dict("records"):
            place = treatments.index(cell["treatment"])
            place += 0.3 * (defences.index(cell["defence"]) - (len(defences) - 1) / 2)
            colour = condition_colour("ace", cell["defence"])
            label = condition_name("ace", cell["defence"])
            interval(panel, cell, name, place, colour, cell["selected"], label)
    scale_lines(drawn, metric_keys(records)["fid"], records, upright=True)
    legend(figure)
    return mark(figure, records)


def treatment_table(records: Sequence[Record], experiment: str = "main") -> Styler:
    """One row per domain, kind of LoRD and test-time treatment; the best of a domain stands out.

    Of ``selection``, on the identities that decide which treatment is reported.
    """
    table = tables.treatment_table(records, experiment)
    rows = zip(table["defence"], table["treatment"], table["selected"], strict=True)
    labels = [
        f"{DEFENCE_NAMES[defence]}: {treatment_name(treatment)}{' (chosen)' if selected else ''}"
        for defence, treatment, selected in rows
    ]
    return metric_table(table, [labels], records, pd.Series(True, index=table.index))


def main_table(profile: str) -> Styler:
    """One row per domain, attack and defence; the best defence against each attack stands out."""
    records = result_records(profile)
    table = in_book_order(tables.main_table(records))
    heads = [
        [ATTACK_NAMES[attack] for attack in table["attack"]],
        list(map(defence_name, table["defence"], table["treatment"])),
    ]
    competing = table["defence"] != "none"
    return metric_table(table, heads, records, competing, among=["domain", "attack"])


@where_planned
def rival_table(profile: str, ours: str = PROPOSED) -> Styler:
    """By how much one defence is ahead of every other one, on the same subjects and seeds.

    Above 0 it is better; an interval above 0 is marked as good, one below 0 as bad. Where the
    profile does not try the defence, a note says so instead.
    """
    records = result_records(profile)
    leads = tables.rival_table(records, ours)
    leads = leads[leads["attack"] != "none"]
    ahead = leads["lead_low"].fillna(leads["lead"]) > 0
    behind = leads["lead_high"].fillna(leads["lead"]) < 0
    return difference_table(leads, "lead", ahead, behind, metric_keys(records), records)


@where_planned
def harm_table(profile: str) -> Styler:
    """By how much a defence makes LoRAs on clean photographs worse, on the same subjects and seeds.

    A harm that is surely below the margin, see `tables.clean_harm`, is marked as good, one that is
    surely above it as bad.
    """
    records = result_records(profile)
    harms = tables.clean_harm(records)
    small = harms["harm_high"].fillna(harms["harm"]) < harms["margin"]
    large = harms["harm_low"].fillna(harms["harm"]) > harms["margin"]
    return difference_table(harms, "harm", small, large, metric_keys(records), records)


@styled
def main_figure(profile: str, attack: str = "ace") -> Figure:
    """Every defence against one attack, and the clean LoRA, by FID and by the quality score.

    Dots are subjects and seeds, bars means with intervals.
    """
    records = result_records(profile)
    table, cells = tables.main_table(records), tables.main_rows(records)
    keys = judged_keys(records)
    present = set(zip(table["attack"], table["defence"], table["selected"], strict=True))
    shown = [("none", "none", True)]
    shown += [key for key in product([attack], DEFENCE_NAMES, [False, True]) if key in present]
    height = len(keys) * (0.17 * len(shown) + 0.5)
    figure, drawn = ranking(keys, table["domain"].unique(), _names(shown), height)
    for panel, name, domain in drawn:
        panel.set_ylim(len(shown) - 0.4, -0.6)
        for place, (condition, defence, selected) in enumerate(shown):
            colour = condition_colour(condition, defence)
            chosen = {"attack": condition, "defence": defence, "selected": selected}
            part = _where(cells, domain=domain, **chosen)
            panel.plot(part[name], [place + 0.25] * len(part), ".", color=colour, alpha=0.6)
            for mean in _where(table, domain=domain, **chosen).to_dict("records"):
                interval(panel, mean, name, place - 0.1, colour, filled=selected)
    scale_lines(drawn, keys["fid"], run(profile, "scale", compute=False), upright=True)
    legend(figure)
    return mark(figure, records)


@styled
def stranger_figure(profile: str) -> Figure:
    """FID and the quality score under every attack, of the defences that face many, as chosen.

    Bars are 95 % intervals, the dotted line is the mean of LoRAs on clean photographs.
    """
    records = result_records(profile)
    table = tables.main_table(records)
    table = table[table["selected"]]
    defences = facing_many(table)
    attacks = [name for name in table["attack"].unique() if name != "none"]
    height = len(JUDGED) * (0.14 * len(defences) * len(attacks) + 0.6) + 0.6
    names = [ATTACK_NAMES[name] for name in attacks]
    figure, drawn = ranking(judged_keys(records), table["domain"].unique(), names, height)
    for panel, name, domain in drawn:
        rows = _where(table, domain=domain).set_index(["attack", "defence"])
        clean = rows.loc[("none", "none"), name]
        panel.axvline(clean, color=BLUE, linestyle=":", label="LoRA, clean photos")
        for (place, attack), (order, defence) in product(enumerate(attacks), enumerate(defences)):
            if (attack, defence) in rows.index:
                offset = 0.8 * ((order + 0.5) / len(defences) - 0.5)
                cell, colour = rows.loc[(attack, defence)], condition_colour(attack, defence)
                label = DEFENCE_NAMES[defence]
                interval(panel, cell, name, place + offset, colour, label=label)
    scale = run(profile, "scale", compute=False)
    scale_lines(drawn, metric_keys(records)["fid"], scale, upright=True)
    legend(figure)
    return mark(figure, records)


def facing_many(table: pd.DataFrame) -> list[str]:
    """The defences, and none if it is there, that face three attacks, or as many as any do.

    Args:
        table: has a row for each attack and defence, or several.
    """
    faced = table[table["attack"] != "none"].groupby("defence")["attack"].nunique()
    faced = faced[faced >= min(3, faced.max())]
    return [name for name in DEFENCE_NAMES if name in faced.index]


def _where(table: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows of a table that have these values."""
    return table[(table[list(values)] == pd.Series(values)).all(axis=1)]


def _names(shown: Sequence[tuple[str, str, bool]]) -> list[str]:
    """What the rows of the main figure are; as trained is said if a choice is beside it."""
    names = ["clean photos"]
    for attack, defence, selected in shown[1:]:
        name = "no defence" if defence == "none" else DEFENCE_NAMES[defence]
        both = {(attack, defence, True), (attack, defence, False)} <= set(shown)
        names.append(f"{name}, {'chosen' if selected else 'as trained'}" if both else name)
    return names


@styled
def gap_closed(profile: str) -> Figure:
    """Share of the damage that LoRD repairs: 0 is none of it, 1 as good as clean photographs.

    Lines are 95 % intervals, left out where the damage is not surely above 0.
    """
    records = result_records(profile)
    gaps = tables.gaps_closed(records)
    gaps = _where(gaps, attack="ace", defence=PROPOSED, selected=True)
    keys = metric_keys(records)
    domains = list(gaps["domain"].unique())
    figure, axes = panels(1, 1, 0.3 * len(gaps) + 0.6)
    panel = axes[0, 0]
    label = {"facecolor": "white", "linewidth": 0, "pad": 0.5}
    for turn, (domain, colour) in enumerate(zip(domains, CYCLE, strict=False)):
        shares = gaps[gaps["domain"] == domain].set_index("metric")
        for place, name in enumerate(keys):
            share, low, high = shares.loc[name, ["closed", "closed_low", "closed_high"]]
            height = place + 0.36 * (turn - (len(domains) - 1) / 2)
            panel.barh(height, share, 0.32, color=colour, label=domain if place == 0 else None)
            panel.plot([low, high], [height, height], color="black", linewidth=1)
            # Where the attack does no damage there is nothing to repair.
            text = "no gap" if np.isnan(share) else f" {share:z.0%} "
            side = "right" if share < 0 else "left"
            end = np.nanmin([share, low]) if share < 0 else np.nanmax([share, high, 0])
            panel.text(end, height, text, ha=side, va="center", bbox=label)
    panel.axvline(0, color="black", linewidth=1)
    panel.axvline(1, color="black", linewidth=1, linestyle="--")
    panel.set_yticks(range(len(keys)), [metric_name(key) for key in keys.values()])
    panel.set_xlabel("share of the gap closed")
    panel.xaxis.set_major_formatter("{x:.0%}")
    panel.grid(axis="y", visible=False)
    panel.margins(x=0.15)
    panel.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=len(domains))
    return mark(figure, records)
