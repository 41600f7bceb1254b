"""When a component breaks: leads over noise by the steps that are attacked, and by the sampler."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from lord.experiments.components.tables import paired_table
from lord.record import Record
from lord.show.panels import grid, interval
from lord.show.style import BLUE, VERMILION, caveats, mark, styled, where_planned

SAMPLERS = {"ddim": "DDIM", "dpm": "DPM-Solver++", "euler": "Euler"}


@styled
def times(records: Sequence[Record]) -> Figure:
    """The lead over noise of attacks on some steps, and on all of them under each sampler.

    Args:
        records: those of ``component_times``, of one component.
    """
    table = _named(records)
    domains, names = (list(dict.fromkeys(table[key])) for key in ("domain", "name"))
    figure, axes, places = grid(["lead"], domains, 0.3 * len(names) + 0.8, sharey=True)
    for panel, _, domain in places:
        for row in table[table["domain"] == domain].to_dict("records"):
            colour = VERMILION if row["steps"] == "all" else BLUE
            interval(panel, row, "lead_psnr", names.index(row["name"]), colour)
        panel.axvline(0, color="#555555", linestyle=":", linewidth=1.2)
        panel.set(xlabel="lead over noise, dB of PSNR", ylim=(len(names) - 0.5, -0.5))
        panel.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(names)), names)
    return mark(figure, records)


@where_planned
def time_findings(records: Sequence[Record]) -> Markdown:
    """In short: which steps count most, whether fewer do as well as all, and the samplers."""
    lines = [f"*{text}*" for text in caveats(records)]
    for domain, table in _named(records).groupby("domain", sort=False):
        some, whole = (table[(table["steps"] == "all") == every] for every in (False, True))
        if len(some):
            most, least = (some.loc[some["lead_psnr"].agg(end)] for end in ("idxmax", "idxmin"))
            lines.append(
                f"- {domain.capitalize()}: an attack on the {most['name']} alone leads noise by "
                f"{_said(most)}, one on the {least['name']} by {_said(least)}."
            )
        ways = "; ".join(f"{row['sampler']} {_said(row)}" for _, row in whole.iterrows())
        lines.append(f"- {domain.capitalize()}, on all steps: {ways}.")
    return Markdown("\n".join(lines))


def _named(records: Sequence[Record]) -> pd.DataFrame:
    """The table of leads, with the sampler and a name in words for each row."""
    table = paired_table(records)
    table["sampler"] = table["scheduler"].map(SAMPLERS)
    table["name"] = [
        f"all steps, {row['sampler']}" if row["steps"] == "all" else _window(row["steps"])
        for row in table.to_dict("records")
    ]
    return table


def _window(steps: str) -> str:
    """Steps "0-0.34" in words: "first 34% of the steps"."""
    first, last = map(float, steps.split("-"))
    if first == 0:
        return f"first {last:.0%} of the steps"
    if last == 1:
        return f"last {1 - first:.0%} of the steps"
    return f"steps from {first:.0%} to {last:.0%}"


def _said(row: pd.Series) -> str:
    """A lead with its interval."""
    return f"{row['lead_psnr']:.1f} dB [{row['lead_psnr_low']:.1f}, {row['lead_psnr_high']:.1f}]"
