"""What the chapter on components shows: edits, leads over noise, and what goes through what."""

from collections.abc import Mapping, Sequence

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.experiments.components.component_cost import table as component_costs
from lord.experiments.components.tables import lead, paired_table
from lord.record import Record
from lord.show.panels import grid, interval
from lord.show.pictures import labelled_rows, sample_tiles
from lord.show.style import BLUE, caveats, mark, styled, where_planned
from lord.show.tables import plain_table
from lord.show.words import NOT_MEASURED, Answer, capitalised, count, listed

EDITS = ("clean", "attacked", "noise of the same energy")
"""What the rows of a sheet are edits of."""

VARIANTS = {
    "encoder": "encoder alone",
    "both": "encoder and denoiser",
    "denoiser": "both, encoder's gradient cut",
    "latents": "denoiser, from latents on",
    "pixels": "denoiser in pixels, no encoder",
}
"""What an attack goes through, in words."""

GROUPS = {
    "residual": "residual blocks",
    "attention.self": "self-attention",
    "attention.cross": "cross-attention",
    "feed_forward": "feed-forward blocks",
}
"""Parts of the denoiser by the end of their names."""


@styled
def edits(records: Sequence[Record]) -> Figure:
    """Edits of clean, attacked and noisy pictures, for the part that breaks most in each domain."""
    shown = [_extreme(part)[0] for part in _by_domain(records)]
    rows = {}
    for record in shown:
        for label, images in zip(EDITS, sample_tiles(record, rows=3), strict=True):
            where = f"{record.settings['domain']}, {record.settings['component']}"
            rows[f"{where}: {label}"] = images
    return mark(labelled_rows(rows), shown)


@where_planned
def damage_table(records: Sequence[Record]) -> Styler:
    """PSNR and FID of edits under an attack on each part, and its lead over noise."""
    table = paired_table(records)
    lead = table[["lead_psnr", "lead_psnr_low", "lead_psnr_high"]].to_numpy()
    shown = pd.DataFrame(
        {
            "PSNR, attack": table["psnr_attack"].map("{:.1f}".format),
            "PSNR, noise": table["psnr_noise"].map("{:.1f}".format),
            "lead in dB": [f"{mean:.1f} [{low:.1f}, {high:.1f}]" for mean, low, high in lead],
            "SSIM, attack": table["ssim_attack"].map("{:.2f}".format),
            "FID, attack": table["fid_attack"].map("{:.1f}".format),
        }
    ).set_index(pd.MultiIndex.from_frame(table[["domain", "component"]], names=[None, None]))
    return plain_table(shown, records)


@where_planned
def damage_findings(records: Sequence[Record]) -> Markdown:
    """In short: which part breaks most in each domain, and which kinds of parts break at all."""
    lines = [*(f"*{text}*" for text in caveats(records))]
    for part in _by_domain(records):
        most, least = (paired_table([record]).iloc[0] for record in _extreme(part))
        table = paired_table(part)
        surely = (table["lead_psnr_low"] > 0).sum()
        lines.append(
            f"- {most['domain'].capitalize()}: an attack on {_said(most)} breaks most, one on "
            f"{_said(least)} least. Surely more than by noise break {surely} of {len(table)} parts."
        )
        lines.append(
            f"  Edits under the first have a PSNR of {most['psnr_attack']:.1f} dB to those of "
            f"clean pictures, under noise {most['psnr_noise']:.1f} dB."
        )
        lines.append(f"  Mean leads in the denoiser: {_kinds_said(part)}.")
    return Markdown("\n".join(lines))


@styled
def variants(records: Sequence[Record]) -> Figure:
    """The lead over noise of attacks that go through the encoder, the denoiser, or both."""
    table = paired_table(records)
    names = table["variant"].map(VARIANTS)
    return draw_leads(table.assign(name=names, colour=BLUE), list(VARIANTS.values()), records)


def draw_leads(table: pd.DataFrame, names: Sequence[str], records: Sequence[Record]) -> Figure:
    """Leads over noise in the book's style, a panel for each domain.

    Args:
        table: of `paired_table`, with a ``name`` and a ``colour`` for each row.
        names: from the top down.
    """
    domains = list(dict.fromkeys(table["domain"]))
    figure, axes, places = grid(["lead"], domains, 0.3 * len(names) + 0.8, sharey=True)
    for panel, _, domain in places:
        for row in table[table["domain"] == domain].to_dict("records"):
            interval(panel, row, "lead_psnr", names.index(row["name"]), row["colour"])
        panel.axvline(0, color="#555555", linestyle=":", linewidth=1.2)
        panel.set(xlabel="lead over noise, dB of PSNR", ylim=(len(names) - 0.5, -0.5))
        panel.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(names)), names)
    return mark(figure, records)


def lead_words(row: Mapping[str, float]) -> str:
    """A lead over noise with its interval: "5.1 dB [4.8, 5.4]"."""
    return f"{row['lead_psnr']:.1f} dB [{row['lead_psnr_low']:.1f}, {row['lead_psnr_high']:.1f}]"


@where_planned
def variant_findings(records: Sequence[Record]) -> Markdown:
    """Whether an attack works through the encoder: its lead with and without."""
    table = paired_table(records)
    moved = dict(zip(table.index, table["moved_attack"] / table["moved_noise"], strict=True))
    lines = [
        *(f"*{text}*" for text in caveats(records)),
        *(
            f"- {row['domain'].capitalize()}, {VARIANTS[row['variant']]}: lead of "
            f"{lead_words(row)}. What the denoiser works on moves {moved[place]:.1f} times as far "
            "as by noise."
            for place, row in table.iterrows()
        ),
    ]
    return Markdown("\n".join(lines))


@where_planned
def cost_findings(records: Sequence[Record]) -> Markdown:
    """What a step of an attack on each component takes, beside the passes that it has to make."""
    (record,) = records
    rows = component_costs(records).to_dict("records")
    lines = [
        *(f"*{text}*" for text in caveats(records)),
        f"A step with {count(record.settings['images'], 'picture')} takes:\n",
        *(
            f"- on {row['component']}, {row['seconds']:.2f} seconds, "
            f"{row['times_its_passes']:.2f} times its passes."
            for row in rows
        ),
    ]
    return Markdown("\n".join(lines))


def weakest(records: Sequence[Record]) -> Answer:
    """Which part breaks most in each domain, and which kind of part in the denoiser."""
    records = [r for r in records if r.settings.get("task") == "variation"]
    if not records:
        return NOT_MEASURED
    most = [paired_table([_extreme(part)[0]]).iloc[0] for part in _by_domain(records)]
    names = list(dict.fromkeys(row["component"] for row in most))
    worst = min(most, key=lambda row: row["psnr_attack"])
    said = "; ".join(f"on {row['domain']} {_said(row)}" for row in most)
    kinds = "".join(
        f" Mean leads in the denoiser, {part[0].settings['domain']}: {_kinds_said(part)}."
        for part in _by_domain(records)
    )
    return Answer(
        capitalised(listed(names)),
        f"{_times(worst['lead_psnr'])} the effect of noise",
        f"An attack on this part changes edits most: {said}.{kinds}",
    )


def through_the_encoder(records: Sequence[Record]) -> Answer:
    """Whether attacks on a latent model work through its encoder.

    Yes, if in every domain the attack on the encoder alone is surely above noise, and none of those
    without the encoder is. In part, if some are, but surely less than it where the denoiser is
    attacked with the encoder's part of the gradient cut.
    """
    if not records:
        return NOT_MEASURED
    table = paired_table(records)
    ways = {name: table[table["variant"] == name] for name in ("encoder", "denoiser")}
    through, cut = (rows.set_index("domain") for rows in ways.values())
    without = table[table["variant"].isin(("denoiser", "latents", "pixels"))]
    works, less = through["lead_psnr_low"] > 0, cut["lead_psnr_high"] < through["lead_psnr_low"]
    verdict = "In part" if (works & less).any() else "No"
    if (works & less).all() and (without["lead_psnr_low"] <= 0).all():
        verdict = "Yes"
    said = "".join(
        f" {row['domain'].capitalize()}, {VARIANTS[row['variant']]}: {lead_words(row)}."
        for row in table.to_dict("records")
    )
    return Answer(
        verdict,
        f"without it {_times(cut['lead_psnr'].min())} the effect of noise",
        f"Leads are over noise of the same energy.{said}",
    )


def _kinds_said(records: Sequence[Record]) -> str:
    """The mean lead of each kind of part of the denoiser, in words."""
    table = paired_table(records)
    means = {
        name: table.loc[table["component"].str.endswith(end), "lead_psnr"].mean()
        for end, name in GROUPS.items()
    }
    return ", ".join(f"{name} {lead:.1f} dB" for name, lead in means.items() if lead == lead)


def _by_domain(records: Sequence[Record]) -> list[list[Record]]:
    """The records of each domain together."""
    domains = dict.fromkeys(record.settings["domain"] for record in records)
    return [[r for r in records if r.settings["domain"] == domain] for domain in domains]


def _extreme(records: Sequence[Record]) -> tuple[Record, Record]:
    """The record whose attack is furthest ahead of noise, and that whose is least."""
    ordered = sorted(records, key=lead)
    return ordered[-1], ordered[0]


def _times(lead: float) -> str:
    """How far edits change beside noise, of a lead in dB of PSNR: "20 times"."""
    return f"{10 ** (lead / 20):.2g} times"


def _said(row: pd.Series) -> str:
    """A part with the lead of its attack and the interval."""
    return f"`{row['component']}` ({lead_words(row)})"
