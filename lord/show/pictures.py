"""Pictures: renders, reconstructions, attacked photographs and samples of the experiments."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lord.experiments.lord.protocol import PROPOSED
from lord.experiments.lord.tables import selected_treatment
from lord.names import DOMAINS
from lord.record import Record
from lord.seeding import derive_seed
from lord.show.panels import panels, plain
from lord.show.style import WIDTH, condition_name, mark, styled
from lord.study.run import results_root
from lord.study.store import Store

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline

TILES = 6
"""Pictures in a row, so that each is still recognisable on a phone."""

SHOWN = (("none", "none"), ("ace", "none"), ("ace", PROPOSED))
"""The conditions whose samples are shown, as (attack, defence)."""

GAP = 2
"""White pixels between pictures."""


@styled
def image_grid(
    images: ArrayLike, captions: Sequence[str] | None = None, columns: int = 4
) -> Figure:
    """Images (N, 3, H, W) in [0, 1] in rows of ``columns``, each above its caption.

    Args:
        images: an array, or a tensor in main memory.
    """
    rows = -(-len(images) // columns)
    side = WIDTH / columns
    texts = [textwrap.fill(text, int(side * 14.5)) for text in captions or [""] * len(images)]
    lines = max(text.count("\n") + bool(text) for text in texts)
    figure, axes = panels(rows, columns, rows * (side + 0.145 * lines))
    for panel in axes.flat:
        plain(panel)
    for panel, image, text in zip(axes.flat, images, texts, strict=False):
        panel.imshow(_array(image))
        panel.set_xlabel(text, fontsize=8, linespacing=1.1)
    return figure


@styled
def image_rows(rows: Mapping[str, ArrayLike]) -> Figure:
    """One row of images, as in `image_grid`, for every label, the label above it."""
    return labelled_rows(rows)


def labelled_rows(rows: Mapping[str, ArrayLike]) -> Figure:
    """As `image_rows`, for use in another figure of the book's style."""
    heights = [
        WIDTH * mosaic(images).shape[0] / mosaic(images).shape[1] for images in rows.values()
    ]
    figure, axes = panels(
        len(rows), 1, sum(heights) + 0.27 * len(rows), gridspec_kw={"height_ratios": heights}
    )
    for panel, (label, images) in zip(axes[:, 0], rows.items(), strict=True):
        plain(panel)
        panel.imshow(mosaic(images))
        panel.set_title(label, loc="left", pad=3)
    return figure


def round_trips(pipeline: "StableDiffusionPipeline") -> Figure:
    """Held-out renders of every domain, before and after the autoencoder."""
    import torch

    from lord.data.subjects import sample_domain
    from lord.models.pipeline import round_trip

    size = pipeline.unet.config.sample_size * pipeline.vae_scale_factor
    each = TILES // len(DOMAINS)
    renders = torch.cat(
        [sample_domain(domain, "evaluation", range(each), size).images for domain in DOMAINS]
    )
    decoded = round_trip(pipeline, renders).cpu()
    return image_rows({"rendered": renders, "encoded and decoded": decoded})


def prompted_samples(pipeline: "StableDiffusionPipeline") -> Figure:
    """Samples of the captions of held-out identities, four of every domain."""
    from lord.data.subjects import sample_domain
    from lord.models.sample import generate

    captions = [
        caption
        for domain in DOMAINS
        for caption in sample_domain(domain, "evaluation", range(4)).captions
    ]
    seeds = [derive_seed("shown", number) for number in range(len(captions))]
    return image_grid(generate(pipeline, captions, seeds).cpu(), captions, columns=4)


@styled
def attacked_images(records: Sequence[Record]) -> Figure:
    """Photographs before and after the attack and the amplified difference, for every domain."""
    rows = {}
    for record in records:
        labels = ("clean", "after the attack", "difference, amplified")
        for label, tiles in zip(labels, sample_tiles(record), strict=True):
            rows[f"{record.settings['domain']}: {label}"] = tiles
    return mark(labelled_rows(rows), records)


@styled
def treatment_samples(records: Sequence[Record], defended: bool = True) -> Figure:
    """A subject of each domain: photographs, and samples of the LoRAs trained on them.

    Args:
        records: among others those of main; with ``defended`` also those that chose the
            test-time treatment of LoRD.
        defended: whether to show LoRD too.
    """
    main = [record for record in records if record.kind == "main"]
    shown = SHOWN if defended else SHOWN[:2]
    rows = {}
    for domain in dict.fromkeys(record.settings["domain"] for record in main):
        first = next(record for record in main if record.settings["domain"] == domain)
        place = (domain, first.settings["subject"], first.settings["seed"])
        # Where nobody attacks, a sheet has the photographs as they were taken.
        rows[f"{domain}: photographs"] = sample_tiles(_cell(records, *place, "none", "none"))[1]
        for attack, defence in shown:
            record = _cell(records, *place, attack, defence)
            rows[f"{domain}: {condition_name(attack, defence)}"] = sample_tiles(record)[0]
    return mark(labelled_rows(rows), main)


@styled
def sheet(records: Sequence[Record]) -> Figure:
    """Samples of every subject at the first seed: a row each, a block for every condition.

    Args:
        records: those of main and those that chose the test-time treatment of LoRD.
    """
    main = [record for record in records if record.kind == "main"]
    subjects: dict[tuple[str, int], int] = {}
    for record in main:
        subject = (record.settings["domain"], record.settings["subject"])
        subjects.setdefault(subject, record.settings["seed"])
    figure, axes = panels(len(subjects), len(SHOWN), 0.62 * len(subjects) + 0.3)
    for row, ((domain, index), seed) in zip(axes, subjects.items(), strict=True):
        for panel, (attack, defence) in zip(row, SHOWN, strict=True):
            plain(panel)
            record = _cell(records, domain, index, seed, attack, defence)
            panel.imshow(mosaic(sample_tiles(record)[0][:3]))
        row[0].set_ylabel(f"{domain.removesuffix('s')}\n{index}", fontsize=7)
    for panel, condition in zip(axes[0], SHOWN, strict=True):
        panel.set_title(condition_name(*condition))
    return mark(figure, main)


def sample_tiles(record: Record, rows: int | None = None) -> NDArray[np.float32]:
    """The pictures on a record's sheet, shape (rows, up to `TILES`, 3, H, W) in [0, 1].

    Args:
        rows: how many the sheet has, if the record's settings do not tell the size of a picture.

    Raises:
        FileNotFoundError: the sheet is not kept.
    """
    pixels = _store_of(record).sheet(record).astype(np.float32) / 255
    size = len(pixels) // rows if rows else record.settings["size"]
    rows, columns = pixels.shape[0] // size, pixels.shape[1] // size
    tiles = pixels.reshape(rows, size, columns, size, 3)
    return tiles.transpose(0, 2, 4, 1, 3)[:, :TILES]


def mosaic(images: ArrayLike) -> NDArray[np.float32]:
    """Images side by side with white gaps, shape (H, W', 3)."""
    right = ((0, 0), (0, GAP), (0, 0))
    pieces = [np.pad(_array(image), right, constant_values=1) for image in images]
    return np.concatenate(pieces, axis=1)[:, :-GAP]


def _store_of(record: Record) -> Store:
    # A record does not know its profile.
    for folder in results_root().iterdir():
        store = Store(folder)
        if store.records(record.kind).get(record.name) == record:
            return store
    raise FileNotFoundError(
        f"{results_root()}: no picture of {record.name}; no profile there has this record"
    )


def _cell(
    records: Sequence[Record], domain: str, subject: int, seed: int, attack: str, defence: str
) -> Record:
    """The record of a condition, with LoRD that of the treatment chosen for the domain."""
    treatment = selected_treatment(records, domain, defence) if defence == PROPOSED else "none"
    wanted = {
        "domain": domain,
        "subject": subject,
        "seed": seed,
        "attack_name": attack,
        "defence": defence,
        "treatment": treatment,
    }
    return next(r for r in records if r.kind == "main" and wanted.items() <= r.settings.items())


def _array(image: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(image, np.float32).clip(0, 1).transpose(1, 2, 0)
