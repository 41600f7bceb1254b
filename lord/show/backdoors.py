"""What the chapters on backdoors show: samples, whether backdoors work, and those in latents."""

from collections.abc import Mapping, Sequence

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.experiments.terd.protocol import of_group
from lord.experiments.terd.tables import WORKS, latent_table, model_table
from lord.metrics.interval import share_interval
from lord.record import Record
from lord.show.panels import panels, plain
from lord.show.pictures import labelled_rows, mosaic, sample_tiles
from lord.show.style import caveats, mark, styled, where_planned
from lord.show.tables import plain_table

ATTACKS = {
    "baddiffusion": "BadDiffusion",
    "baddiffusion_ode": "BadDiffusion for ODE",
    "trojdiff_blend": "TrojDiff, blended",
    "trojdiff_patch": "TrojDiff, patch",
    "invisible": "learned trigger",
}
DETECTORS = {
    "terd": "TERD",
    "terd_both": "TERD, both starts",
    "norm": "Norm alone",
    "elijah": "Elijah-style",
}


@styled
def model_samples(records: Sequence[Record]) -> Figure:
    """Renders, and samples of the clean model by two samplers, each with its FID."""
    (record,) = (record for record in records if record.kind == "pixel")
    labels = {"renders": "rendered", "ddim": "sampled by DDIM", "ddpm": "sampled by DDPM"}
    tiles = sample_tiles(record, rows=len(labels))
    rows = {
        f"{label}: FID {record.metrics[f'fid_pixel/{name}']:.1f}": images
        for (name, label), images in zip(labels.items(), tiles, strict=True)
    }
    return mark(labelled_rows(rows), [record])


@styled
def samples(records: Sequence[Record]) -> Figure:
    """A row for each backdoored model: what plain noise becomes, and what triggered noise does."""
    shown = of_group(records, "backdoors", "backdoored")
    figure, axes = panels(len(shown), 2, 0.62 * len(shown) + 0.3)
    for row, record in zip(axes, shown, strict=True):
        for panel, images in zip(row, sample_tiles(record, rows=2), strict=True):
            plain(panel)
            panel.imshow(mosaic(images[:4]))
        name = words(record.settings["suspect"]).replace(": ", "\n")
        row[0].set_ylabel(name, fontsize=6.5, rotation=0, ha="right", va="center")
    for panel, title in zip(axes[0], ("plain noise", "triggered noise"), strict=True):
        panel.set_title(title)
    return mark(figure, shown)


@where_planned
def success_table(records: Sequence[Record]) -> Styler:
    """Attack success and FID of plain samples, for each backdoored model and all clean ones."""
    table = model_table(records)
    clean, bad = (table[table["group"] == group] for group in ("clean", "backdoored"))
    fids = [f"{value:.1f}" for value in bad["fid_pixel"]]
    names = [words(row) for row in bad.to_dict("records")]
    success = [f"{value:.0%}" for value in bad["success"]]
    if len(clean):
        names.append(f"{len(clean)} clean models")
        success.append("")
        fids.append(f"{clean['fid_pixel'].min():.1f} to {clean['fid_pixel'].max():.1f}")
    shown = pd.DataFrame({"attack success": success, "embedded FID": fids}, names)
    return plain_table(shown, records)


@where_planned
def backdoor_findings(records: Sequence[Record]) -> Markdown:
    """In short: how many backdoors work, and what they cost."""
    table = model_table(records)
    bad, clean = table[table["group"] == "backdoored"], table[table["group"] == "clean"]
    lines = [
        *(f"*{text}*" for text in caveats(records)),
        f"- {bad['works'].sum()} of {len(bad)} backdoors work: at least {WORKS:.0%} of triggered "
        f"samples are the target.",
        f"- Plain samples of backdoored models score an FID of {bad['fid_pixel'].mean():.1f} on "
        f"average. Those of models fine-tuned on clean pictures score "
        f"{clean['fid_pixel'].mean():.1f}.",
    ]
    return Markdown("\n".join(lines))


@styled
def latent_samples(records: Sequence[Record]) -> Figure:
    """What backdoored fine-tunes of the latent model draw of plain and of triggered latents."""
    shown = [r for r in records if r.settings["target"] != "none"]
    rows = {}
    for record in shown:
        labels = ("plain latents", "triggered latents")
        for label, images in zip(labels, sample_tiles(record, rows=2), strict=True):
            rows[f"{record.settings['target']}: {label}"] = images
    return mark(labelled_rows(rows), shown)


@where_planned
def latent_findings(records: Sequence[Record]) -> Markdown:
    """Whether backdoors of the latent model work, and are found."""
    models = latent_table(records)
    bad = models[models["group"] == "backdoored"]
    lines = [
        *(f"*{text}*" for text in caveats(records)),
        f"- {bad['works'].sum()} of {len(bad)} backdoors in the latent model work; "
        f"{bad['success'].min():.0%} of triggered latents or more become the target.",
    ]
    lines += [told(models, name) for name in DETECTORS if f"{name}_suspected" in models]
    return Markdown("\n".join(lines))


def told(models: pd.DataFrame, name: str) -> str:
    """How many models a detector tells right, with exact intervals of 95 %."""
    suspected = models[f"{name}_suspected"]
    works, clean = suspected[models["works"]], suspected[models["group"] == "clean"]
    return (
        f"- {DETECTORS[name]} suspects {counted(works)} models whose backdoor works. Of clean ones "
        f"it suspects {counted(clean)}."
    )


def counted(told: pd.Series) -> str:
    """How many of some are told, with the exact interval of 95 % of their share."""
    count, total = int(told.sum()), len(told)
    found = share_interval(count, total)
    return f"{count} of {total} ({found.low:.0%} to {found.high:.0%})"


def words(settings: Mapping[str, object]) -> str:
    """A model in words: "BadDiffusion: box to hat"."""
    if settings["attack"] == "none":
        return "clean"
    trigger = "" if settings["trigger"] == "none" else str(settings["trigger"]).replace("_", " ")
    ground = " on black" if settings["ground"] == -1 else ""
    return f"{ATTACKS[str(settings['attack'])]}: {trigger}{ground} to {settings['target']}"
