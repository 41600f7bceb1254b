"""When a component breaks: leads over noise by the steps that are attacked, and by the sampler."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from lord.experiments.components.tables import paired_table
from lord.record import Record
from lord.show.components import draw_leads, lead_words
from lord.show.style import BLUE, VERMILION, caveats, styled, where_planned

SAMPLERS = {"ddim": "DDIM", "dpm": "DPM-Solver++", "euler": "Euler"}


@styled
def times(records: Sequence[Record]) -> Figure:
    """The lead over noise of attacks on some steps, and on all of them under each sampler.

    Args:
        records: those of ``component_times``, of one component.
    """
    table = _named(records)
    colours = [VERMILION if steps == "all" else BLUE for steps in table["steps"]]
    return draw_leads(table.assign(colour=colours), list(dict.fromkeys(table["name"])), records)


@where_planned
def time_findings(records: Sequence[Record]) -> Markdown:
    """In short: which steps count most and least, and whether samplers differ."""
    lines = [f"*{text}*" for text in caveats(records)]
    for domain, table in _named(records).groupby("domain", sort=False):
        some, whole = (table[(table["steps"] == "all") == every] for every in (False, True))
        if len(some):
            most, least = (some.loc[some["lead_psnr"].agg(end)] for end in ("idxmax", "idxmin"))
            lines.append(
                f"- {domain.capitalize()}: an attack on the {most['name']} alone leads noise by "
                f"{lead_words(most)}. One on the {least['name']} leads by {lead_words(least)}."
            )
        ways = "; ".join(f"{row['sampler']} {lead_words(row)}" for _, row in whole.iterrows())
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
