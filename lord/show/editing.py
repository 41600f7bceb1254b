"""What data for editing looks like: masks, small pictures, and prompts that suit a picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from IPython.display import HTML, Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.record import Record
from lord.show.pictures import labelled_rows, sample_tiles
from lord.show.style import mark, styled, where_planned
from lord.show.tables import plain_table

if TYPE_CHECKING:
    from torch import Tensor

    from lord.metrics.clip_iqa import ClipEncoder

FACTOR = 4
"""How many times smaller the small pictures are, as in the data that are made of a folder."""

LISTED = 8
"""Pictures whose prompts are listed."""


@styled
def masked(images: "Tensor") -> Figure:
    """Pictures (N, 3, H, W) as they are, under a random shape, and under a segment of their own."""
    import torch

    from lord.editing.masks import covered, mask_of

    rows = {"pictures": images}
    for kind, words in (("shape", "under random shapes"), ("segment", "under their own segments")):
        masks = torch.stack([mask_of(image, seed, kind) for seed, image in enumerate(images)])
        rows[words] = covered(images, masks)
    return labelled_rows(rows)


@styled
def shrunk(images: "Tensor") -> Figure:
    """Pictures (N, 3, H, W) made small by each kernel."""
    from lord.editing.kernels import KERNELS, shrink

    rows = {"pictures": images}
    return labelled_rows(rows | {name: shrink(images, FACTOR, name) for name in KERNELS})


def ranked(images: "Tensor", prompts: Sequence[str], encoder: "ClipEncoder") -> HTML:
    """For the first of N pictures their own prompt, and the one of all that suits them best."""
    found = _best(images, prompts, encoder)[:LISTED]
    rows = [
        (own, "its own" if prompts[best] == own else prompts[best])
        for own, best in zip(prompts[:LISTED], found, strict=True)
    ]
    table = pd.DataFrame(rows, columns=["own prompt", "ranked first"])
    return HTML(table.to_html(index=False, border=0, justify="left"))


def ranking_findings(images: "Tensor", prompts: Sequence[str], encoder: "ClipEncoder") -> Markdown:
    """In short: for how many pictures their own prompt ranks first."""
    own = sum(k == best for k, best in enumerate(_best(images, prompts, encoder)))
    return Markdown(
        f"- Of {len(prompts)} pictures, {own} have their own prompt ranked first among the prompts "
        f"of all. By chance it would be {1 / len(prompts):.0%} of them."
    )


@styled
def edits(records: Sequence[Record]) -> Figure:
    """Pictures, their edits, and what needs no model, for each domain and task."""
    rows = {}
    for record in records:
        where = f"{record.settings['domain']}, {record.settings['task']}"
        shown = sample_tiles(record, rows=3)
        for words, images in zip(("pictures", "edits", "without a model"), shown, strict=True):
            rows[f"{where}: {words}"] = images
    return mark(labelled_rows(rows), records)


@where_planned
def quality_table(records: Sequence[Record]) -> Styler:
    """How like edits are to the pictures as they were rendered, beside what needs no model."""
    measures = {"psnr": ("PSNR", ".1f"), "ssim": ("SSIM", ".2f"), "fid": ("FID", ".1f")}
    cells = pd.DataFrame(
        {
            f"{words}, {kind}": [f"{r.metrics[f'{name}/{key}']:{form}}" for r in records]
            for key, (words, form) in measures.items()
            for name, kind in (("edit", "edit"), ("plain", "no model"))
        }
    )
    places = [(r.settings["domain"], r.settings["task"]) for r in records]
    return plain_table(cells.set_index(pd.MultiIndex.from_tuples(places)), records)


def _best(images: "Tensor", prompts: Sequence[str], encoder: "ClipEncoder") -> list[int]:
    from lord.metrics.edits import clip_cosines

    return clip_cosines(encoder, images, prompts).argmax(1).tolist()
