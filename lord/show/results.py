"""The results: conditions and test-time treatments compared, as figures and as tables."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.record import Record
from lord.show.style import (
    CONDITIONS,
    CYCLE,
    caveats,
    higher_is_better,
    mark,
    metric_label,
    metric_name,
    panels,
    styled,
    treatment_name,
    with_interval,
)
from lord.study import tables
from lord.study.run import results_root, run
from lord.study.tables import METRICS


def result_records(profile: str) -> list[Record]:
    """The records behind the results: those that chose the treatments, and the main ones.

    Raises:
        FileNotFoundError: some are missing; the message says how to compute them.
    """
    stages = ("stage2", "main")
    found = [run(profile, s, compute=False, results=results_root()) for s in stages]
    return [record for records in found for record in records]


def metric_keys(records: Sequence[Record]) -> dict[str, str]:
    """For each column of the tables, the metric of the records that it averages.

    Without the columns that nothing was measured for.
    """
    record = next(record for record in records if record.kind == "main")
    return {
        name: key
        for name, suffix in METRICS.items()
        for key in record.metrics
        if key.startswith(name) and key.endswith(suffix)
    }


@styled
def treatment_comparison(records: Sequence[Record]) -> Figure:
    """FID and CLIP-IQA of every test-time treatment; filled: the one chosen on other identities."""
    table, conditions = tables.treatment_table(records), tables.main_table(records)
    keys = metric_keys(records)
    names = ("fid", "clip_iqa")
    domains = list(table["domain"].unique())
    treatments = list(table["treatment"].unique())
    figure, axes = panels(
        len(names),
        len(domains),
        len(names) * (0.24 * len(treatments) + 0.55) + 0.5,
        sharex="row",
        sharey=True,
    )
    for row, name in zip(axes, names, strict=True):
        for panel, domain in zip(row, domains, strict=True):
            _reference_lines(panel, conditions[conditions["domain"] == domain], name)
            for cell in table[table["domain"] == domain].to_dict("records"):
                place, colour = treatments.index(cell["treatment"]), CONDITIONS["ace", "lord"][1]
                _interval(panel, cell, name, place, colour, filled=cell["selected"])
            panel.set_xlabel(metric_label(keys[name]))
            panel.set_ylim(len(treatments) - 0.5, -0.5)
            panel.grid(axis="y", visible=False)
        row[0].set_yticks(range(len(treatments)), [treatment_name(t) for t in treatments])
    for panel, domain in zip(axes[0], domains, strict=True):
        panel.set_title(domain)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return mark(figure, records)


def _reference_lines(panel: Axes, conditions: pd.DataFrame, name: str) -> None:
    """Where LoRAs without a defence are, as vertical lines."""
    undefended = conditions[conditions["defence"] == "none"]
    for cell, style in zip(undefended.to_dict("records"), (":", "--"), strict=False):
        label, colour = CONDITIONS[cell["attack"], "none"]
        panel.axvline(cell[name], color=colour, linestyle=style, label=label)


def _interval(
    panel: Axes,
    cell: Mapping[str, float],
    name: str,
    place: float,
    colour: str,
    filled: bool = True,
) -> None:
    """A mean as a dot, its interval as a bar."""
    low, high = cell[f"{name}_low"], cell[f"{name}_high"]
    panel.plot([low, high], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
    face = colour if filled else "white"
    panel.plot(cell[name], place, "o", markersize=5.5, color=colour, markerfacecolor=face)


def treatment_table(records: Sequence[Record], stage: str = "main") -> Styler:
    """One row per domain and test-time treatment; the best of a domain stands out.

    With the stage ``stage2``, on the identities that decide which treatment is reported.
    """
    table = tables.treatment_table(records, stage)
    labels = [
        treatment_name(treatment) + (" (chosen)" if selected else "")
        for treatment, selected in zip(table["treatment"], table["selected"], strict=True)
    ]
    return metric_table(table, labels, records, pd.Series(True, index=table.index))


def main_table(profile: str) -> Styler:
    """One row per domain and condition; the best on attacked photographs stands out."""
    records = result_records(profile)
    table = tables.main_table(records)
    labels = [CONDITIONS[pair][0] for pair in zip(table["attack"], table["defence"], strict=True)]
    return metric_table(table, labels, records, table["attack"] != "none")


def metric_table(
    table: pd.DataFrame,
    labels: Sequence[str],
    records: Sequence[Record],
    competing: pd.Series,
    worst: bool = False,
    further: Mapping[str, pd.Series] | None = None,
) -> Styler:
    """Means with intervals, a row for every row of a table, grouped by domain.

    Args:
        competing: of these rows of a domain the best one of each metric is highlighted.
        worst: the worst one is, instead.
        further: columns beside the metrics.
    """
    keys = metric_keys(records)
    rows = pd.MultiIndex.from_arrays([table["domain"], labels], names=[None, None])
    cells, classes = pd.DataFrame(index=rows), pd.DataFrame(index=rows)
    for name, key in keys.items():
        columns = [table[name], table[f"{name}_low"], table[f"{name}_high"]]
        cells[metric_label(key)] = [with_interval(*row) for row in zip(*columns, strict=True)]
        ranked = table.loc[competing, name].groupby(table["domain"])
        best = ranked.idxmax() if higher_is_better(key) != worst else ranked.idxmin()
        classes[metric_label(key)] = np.where(table.index.isin(best), "winner", "")
    for name, values in (further or {}).items():
        cells[name], classes[name] = values.to_numpy(), ""
    winner = {"selector": "td.winner", "props": "font-weight: 700; background: rgba(46,160,67,.22)"}
    left = {"selector": "th.row_heading", "props": "text-align: left"}
    # Themes know tables of the class "dataframe", and leave other ones white in the dark.
    styler = cells.style.set_table_attributes('class="dataframe"').set_td_classes(classes)
    styler.set_table_styles([winner, left])
    warnings = caveats(records)
    return styler.set_caption(" ".join(warnings)) if warnings else styler


@styled
def main_figure(profile: str) -> Figure:
    """Every metric (rows) in every domain (columns): dots are cells, bars means with intervals."""
    records = result_records(profile)
    table, cells, keys = (
        tables.main_table(records),
        tables.condition_rows(records, "main"),
        metric_keys(records),
    )
    domains = list(table["domain"].unique())
    shown = [
        pair
        for pair in CONDITIONS
        if pair in set(zip(table["attack"], table["defence"], strict=True))
    ]
    figure, axes = panels(len(keys), len(domains), 1.45 * len(keys), sharex="row", sharey=True)
    for row, (name, key) in zip(axes, keys.items(), strict=True):
        for panel, domain in zip(row, domains, strict=True):
            for place, (attack, defence) in enumerate(shown):
                colour = CONDITIONS[attack, defence][1]
                treatment = (
                    tables.selected_treatment(records, domain) if defence == "lord" else "none"
                )
                chosen = {"domain": domain, "attack": attack, "defence": defence}
                values = _where(cells, **chosen, treatment=treatment)[name]
                panel.plot(values, [place + 0.25] * len(values), ".", color=colour, alpha=0.6)
                (mean,) = _where(table, **chosen).to_dict("records")
                _interval(panel, mean, name, place - 0.1, colour)
            panel.set_xlabel(metric_label(key))
            panel.set_ylim(len(shown) - 0.4, -0.6)
            panel.grid(axis="y", visible=False)
        row[0].set_yticks(range(len(shown)), [CONDITIONS[pair][0] for pair in shown])
    for panel, domain in zip(axes[0], domains, strict=True):
        panel.set_title(domain)
    return mark(figure, records)


def _where(table: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows of a table that have these values."""
    return table[(table[list(values)] == pd.Series(values)).all(axis=1)]


@styled
def gap_closed(profile: str) -> Figure:
    """Share of the damage that LoRD repairs: 0 is none of it, 1 as good as clean photographs."""
    records = result_records(profile)
    gaps = tables.gaps_closed(tables.main_table(records))
    keys = metric_keys(records)
    domains = list(gaps["domain"].unique())
    figure, axes = panels(1, 1, 0.3 * len(gaps) + 0.6)
    panel = axes[0, 0]
    label = {"facecolor": "white", "linewidth": 0, "pad": 0.5}
    for number, (domain, colour) in enumerate(zip(domains, CYCLE, strict=False)):
        shares = gaps[gaps["domain"] == domain].set_index("metric")["closed"]
        for place, name in enumerate(keys):
            share = shares[name]
            # Where the attack does no damage there is nothing to repair.
            share = share if np.isfinite(share) else float("nan")
            height = place + 0.36 * (number - (len(domains) - 1) / 2)
            panel.barh(height, share, 0.32, color=colour, label=domain if place == 0 else None)
            text = "no gap" if np.isnan(share) else f" {share:.0%} "
            side = "right" if share < 0 else "left"
            panel.text(
                0 if np.isnan(share) else share, height, text, ha=side, va="center", bbox=label
            )
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
