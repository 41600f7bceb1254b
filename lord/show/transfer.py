"""How much of an attack is left with other prompts and on other models, as heat maps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from IPython.display import Markdown

from lord.experiments.components.tables import transfer_table
from lord.record import Record
from lord.show.panels import grid, matrix
from lord.show.style import caveats, mark, styled, where_planned
from lord.show.words import NOT_MEASURED, Answer, verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def transfer_matrix(records: Sequence[Record], kind: str = "model") -> "Figure":
    """Attackers (rows) against victims (columns), a panel for each domain.

    A cell is the lead of the attack over noise of its energy, in dB of PSNR between edits, as a
    share of what the victim's own attack has, with its interval; empty where that has not surely
    any.

    Args:
        kind: what attackers and victims differ in: ``"model"`` or ``"prompt"``.
    """
    return styled(_draw)([r for r in records if r.settings["kind"] == kind], kind)


@where_planned
def transfer_findings(records: Sequence[Record]) -> Markdown:
    """In short: which shares of an attack are left with other prompts, and on other models."""
    lines = [f"*{text}*" for text in caveats(records)]
    table = transfer_table(records)
    table = table[table["source"] != table["victim"]].dropna(subset=["share"])
    for (domain, kind), rows in table.groupby(["domain", "kind"], sort=False):
        most, least = (rows.loc[rows["share"].agg(end)] for end in ("idxmax", "idxmin"))
        between = _left(least)
        if most.name != least.name:
            between += f" to {_left(most)}"
        lines.append(
            f"- {domain.capitalize()}: other {kind}s leave {between} of the victim's own attack."
        )
    return Markdown("\n".join(lines))


def carried(records: Sequence[Record]) -> Answer:
    """Whether attacks carry over to other prompts, by the least share that is left of one."""
    records = [record for record in records if record.settings["kind"] == "prompt"]
    table = transfer_table(records) if records else None
    if table is None or table["share"].isna().all():
        return NOT_MEASURED
    table = table[table["source"] != table["victim"]].dropna(subset=["share"])
    most, least = (table.loc[table["share"].agg(end)] for end in ("idxmax", "idxmin"))
    return Answer(
        verdict(table["share"]),
        f"at least {least['share']:.0%} of the effect left",
        "An attack with the victim's own prompt has a lead over noise. With another prompt from "
        f"{_left(least)} to {_left(most)} of it is left.",
    )


def _left(row: "pd.Series") -> str:
    """A share with its interval, and between which two it holds."""
    share = f"{row['share']:.0%} [{row['share_low']:.0%}, {row['share_high']:.0%}]"
    return f"{share} ({row['source']} to {row['victim']})"


def _draw(records: Sequence[Record], kind: str) -> "Figure":
    table = transfer_table(records)
    domains = list(dict.fromkeys(table["domain"]))
    sources, victims = (list(dict.fromkeys(table[name])) for name in ("source", "victim"))
    figure, _, panels = grid(
        domains, [f"share left of the attack in %, by {kind}"], 2.6 * len(domains)
    )
    for panel, domain, _ in panels:
        found = table[table["domain"] == domain].set_index(["source", "victim"])
        shades = np.zeros((len(sources), len(victims)))
        texts = [["" for _ in victims] for _ in sources]
        for row, source in enumerate(sources):
            for column, victim in enumerate(victims):
                if (source, victim) not in found.index:
                    continue
                cell = found.loc[(source, victim)]
                if not np.isnan(cell["share"]):
                    shades[row, column] = np.clip(cell["share"], 0, 1)
                    texts[row][column] = _share(cell["share"], *cell[["share_low", "share_high"]])
        matrix(panel, shades, texts, sources, victims, limit=1.0, white=0.75)
        panel.set(ylabel=f"{domain}: attacked", xlabel="edited by" if kind == "model" else "edited")
    return mark(figure, records)


def _share(value: float, low: float, high: float) -> str:
    """A share in percent and its interval below, or the share alone where that has no width."""
    if low == high:
        return f"{100 * value:.0f}"
    return f"{100 * value:.0f}\n[{100 * low:.0f}, {100 * high:.0f}]"
