"""What helps against attacks on components: edits behind each defence, in pictures and words."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from lord.experiments.components.component_defences import MODELS, PROMPT, best, by_domain
from lord.experiments.components.tables import paired_table
from lord.record import Record
from lord.show.panels import grid, interval, legend
from lord.show.pictures import labelled_rows, sample_tiles
from lord.show.style import BLUE, DEFENCE_NAMES, VERMILION, caveats, mark, styled, where_planned
from lord.show.words import listed

NAMES = DEFENCE_NAMES | {
    "none": "no defence",
    PROMPT: "random prompts",
    MODELS: "two denoisers",
}
SHEET = 4
"""Rows of a sheet: edits of clean pictures; of attacked, noisy and clean ones behind a defence."""


@styled
def defences(records: Sequence[Record]) -> Figure:
    """How near edits behind each defence are to undefended edits of clean pictures.

    Args:
        records: those of ``component_defences``.
    """
    table = paired_table(records)
    domains, names = (list(dict.fromkeys(table[key])) for key in ("domain", "defence"))
    figure, axes, places = grid(["psnr"], domains, 0.34 * len(names) + 1.2, sharey=True)
    for panel, _, domain in places:
        for row in table[table["domain"] == domain].to_dict("records"):
            place = names.index(row["defence"])
            if row["defence"] != "none":
                clean = {"color": "#555555", "markerfacecolor": "white", "linestyle": "none"}
                panel.plot(row["defended_psnr"], place, "o", label="of clean pictures", **clean)
            label = "of pictures with noise of the same energy"
            interval(panel, row, "psnr_noise", place + 0.15, BLUE, label=label)
            label = "of attacked pictures"
            interval(panel, row, "psnr_attack", place - 0.15, VERMILION, label=label)
        panel.set(xlabel="PSNR to undefended edits, dB", ylim=(len(names) - 0.5, -0.5))
        panel.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(names)), [NAMES[name] for name in names])
    legend(figure, 1)
    return mark(figure, records)


@styled
def defended_edits(records: Sequence[Record]) -> Figure:
    """Edits of clean and attacked pictures, and of these behind the defence that helps most."""
    rows = {}
    for domain, found in by_domain(records).items():
        edited = sample_tiles(found["none"], rows=SHEET)
        rows[f"{domain}: clean"], rows[f"{domain}: attacked"] = edited[:2]
        name = best(found)
        rows[f"{domain}: attacked, {NAMES[name]}"] = sample_tiles(found[name], rows=SHEET)[1]
    return mark(labelled_rows(rows), records)


@where_planned
def defence_findings(records: Sequence[Record]) -> Markdown:
    """In short: which defence brings edits of attacked pictures nearest to those of clean ones."""
    lines = [f"*{text}*" for text in caveats(records)]
    for domain, found in by_domain(records).items():
        table = paired_table([*found.values()]).set_index("defence")
        none, most = table.loc["none"], table.loc[best(found)]
        helpful = [
            name
            for name in table.index.drop("none")
            if table.loc[name, "psnr_attack_low"] > none["psnr_attack_high"]
        ]
        helped = listed([NAMES[name] for name in helpful]) or "none of them"
        lines += [
            f"- {domain.capitalize()}: without a defence, edits of attacked pictures have a PSNR "
            f"of {_said(none)} to those of clean ones. It is best with {NAMES[most.name]}, "
            f"{_said(most)}. Edits of clean pictures behind it are at "
            f"{most['defended_psnr']:.1f} dB, about the most that it could reach.",
            f"- {domain.capitalize()}: surely above no defence: {helped}.",
        ]
    return Markdown("\n".join(lines))


def _said(row: pd.Series) -> str:
    """The PSNR of edits of attacked pictures with its interval."""
    low, high = row["psnr_attack_low"], row["psnr_attack_high"]
    return f"{row['psnr_attack']:.1f} dB [{low:.1f}, {high:.1f}]"
