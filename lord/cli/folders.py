"""Work on folders of images: attacking and scoring them, and the table of what an attack did."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from lord.attacks.settings import PATTERN, AttackSettings
from lord.cli.manifest import (
    Manifest,
    Shard,
    digest,
    digest_files,
    identity_of,
    request_of,
    shorten,
)
from lord.progress import say, track

if TYPE_CHECKING:
    from torch import Tensor

    from lord.data.folder import ImageSet
    from lord.models.diffusion import Pipeline

ROWS_SHOWN = 24

MEASURED = ("eps", "ssim", "seconds")
LOSSES = ("loss_before", "loss_after")
"""What is noted of an attacked image, see `attack_folder`; the losses on request."""

DRAWS = 8
"""Noises that a loss is the mean of, the same ones before and after."""


def attack_folder(
    pipeline: "Pipeline",
    album: "ImageSet",
    side: int,
    out: Path,
    settings: AttackSettings,
    seed: int,
    batch_size: int,
    shard: Shard | None = None,
    losses: bool = False,
) -> dict[str, dict[str, Any]]:
    """Attack images and save them with their captions, leaving out those that are there already.

    Args:
        side: images that are larger are attacked in parts of this side.
        shard: the share of the images to attack.
        losses: whether to measure how badly the model fits each image before and after.

    Returns:
        For each image that is there, by name, what `measure_change` returns, the ``seconds`` it
        took and, where they were asked for, ``loss_before`` and ``loss_after``.

    Raises:
        ValueError: as `require_fitting`, or ``out`` holds images of another request.
    """
    from lord.data.folder import files_of
    from lord.data.picture import decode_picture

    require_fitting(album, side, settings)
    names = [path.stem for path in album.paths]
    common = attack_request(pipeline, side, settings, seed)
    # The surrogate learns from all images together.
    requests = album_requests(album, common, settings.together)
    manifest = Manifest(out, common, shard)
    manifest.require_alone(names)
    for rows in manifest.missing(names, requests, len(album) if settings.together else batch_size):
        clean, captions = list(album.images[rows]), album.captions[rows]
        began = time.perf_counter()
        attacked = attack_originals(
            pipeline, clean, captions, names[rows], side, settings, seed, batch_size
        )
        seconds = (time.perf_counter() - began) / len(clean)
        files, saved, numbers = [], [], []
        for k, (before, after) in enumerate(zip(clean, attacked, strict=True), rows.start):
            files.append(files_of(names[k], after, album.captions[k], album.alpha(k)))
            saved.append(decode_picture(files[-1][f"{names[k]}.png"], names[k]).image)
            measured = measure_change(before, saved[-1], side, settings.norm)
            numbers.append(measured | {"seconds": seconds})
        for name, images in zip(LOSSES, (clean, saved), strict=True) if losses else ():
            found = losses_of(pipeline, images, captions, side, batch_size)
            for entry, loss in zip(numbers, found, strict=True):
                entry[name] = loss
        manifest.put(names[rows], requests[rows], files, numbers)
    say_companions(manifest, names)
    found = manifest.entries
    return {name: found[name] for name in names if {*MEASURED} <= found.get(name, {}).keys()}


def require_fitting(album: "ImageSet", side: int, settings: AttackSettings) -> None:
    """Refuse images that are attacked in parts where the budget is one of a whole image (l2).

    Raises:
        ValueError: an image is larger than ``side``.
    """
    for path, image in zip(album.paths, album.images, strict=True):
        if settings.norm == "l2" and max(image.shape[1:]) > side:
            raise ValueError(
                f"{path.stem}: larger than the model's images, {side} pixels, so that an l2 budget "
                "for all of it cannot be kept; give --size"
            )


def attack_request(
    pipeline: "Pipeline", side: int, settings: AttackSettings, seed: int
) -> dict[str, Any]:
    """What an attacked image depends on beside itself and its caption."""
    target = None if settings.target in (None, PATTERN) else digest_files(Path(settings.target))
    return identity_of(pipeline) | {
        "settings": settings.model_dump(),
        "target": target,
        "seed": seed,
        "side": side,
    }


def say_companions(manifest: Manifest, names: Sequence[str]) -> None:
    """Say which images of earlier runs are in a folder beside those that were asked for."""
    if others := manifest.companions(names):
        say(f"{manifest.folder}: holds {len(others)} more, asked for before: {shorten(others)}")


def album_requests(album: "ImageSet", common: dict[str, Any], together: bool) -> list[str]:
    """Name what each image of an album depends on: ``common``, itself and its caption.

    Args:
        together: whether it depends on all the other images, too.
    """
    contents = []
    for row, image in enumerate(album.images):
        alpha = album.alpha(row)
        opacity = b"" if alpha is None else alpha.numpy().tobytes()
        contents.append(digest(image.numpy().tobytes() + opacity))
    common = common | {"companions": sorted(contents) if together else None}
    return [
        request_of(common | {"image": content, "caption": caption})
        for content, caption in zip(contents, album.captions, strict=True)
    ]


def attack_originals(
    pipeline: "Pipeline",
    images: list["Tensor"],
    captions: list[str],
    names: list[str],
    side: int,
    settings: AttackSettings,
    seed: int,
    batch_size: int,
) -> list["Tensor"]:
    """Attack images (3, H, W) of any sizes in parts of at most ``side`` (see `lord.data.tiles`).

    Parts of one shape go through the attack together. An image's random numbers depend on its name.
    """
    from lord.attacks.components import attack_component
    from lord.attacks.pgd import attack as perturb
    from lord.data.tiles import join
    from lord.editing.editors import make_editor
    from lord.seeding import derive_seed

    attacked = list(images)
    for rows, counts, stacked, prompts in parts_of(images, captions, side):
        seeds = [
            derive_seed(seed, names[row], k)
            for row, count in zip(rows, counts, strict=True)
            for k in range(count)
        ]
        if settings.component:
            editor = make_editor("variation", pipeline)
            perturbed = attack_component(
                [editor], stacked, prompts, settings, seeds, batch_size=batch_size
            )
        else:
            perturbed = perturb(pipeline, stacked, prompts, settings, seeds, batch_size)
        for row, part in zip(rows, perturbed.split(counts), strict=True):
            attacked[row] = join(part, *images[row].shape[1:], side)
    return attacked


def parts_of(
    images: list["Tensor"], captions: list[str], side: int
) -> Iterator[tuple[list[int], list[int], "Tensor", list[str]]]:
    """Parts of at most ``side`` of images (3, H, W), those of one shape together.

    Yields:
        The rows of the images, how many parts each has, these (N, 3, h, w), and their captions.
    """
    import numpy as np
    import torch

    from lord.data.tiles import split

    parts = [split(image, side) for image in images]
    for shape in sorted({part.shape[1:] for part in parts}):
        rows = [row for row, part in enumerate(parts) if part.shape[1:] == shape]
        counts = [len(parts[row]) for row in rows]
        prompts = np.repeat([captions[row] for row in rows], counts).tolist()
        yield rows, counts, torch.cat([parts[row] for row in rows]), prompts


def measure_change(before: "Tensor", after: "Tensor", side: int, norm: str) -> dict[str, float]:
    """Measure what an attack did to an image.

    Returns:
        The size of the change (``eps``, in the norm, of the part where it is largest), and the
        structural similarity (``ssim``, 1 at most).
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    from lord.data.tiles import split

    order = math.inf if norm == "linf" else 2
    change = split(after - before, side).flatten(1).norm(order, dim=1).max()
    likeness = structural_similarity_index_measure(after[None], before[None], data_range=1.0)
    return {"eps": change.item(), "ssim": likeness.item()}


def losses_of(
    pipeline: "Pipeline",
    images: list["Tensor"],
    captions: list[str],
    side: int,
    batch_size: int,
) -> list[float]:
    """How badly the model fits each image, see `lord.attacks.pgd.denoising_loss`."""
    from lord.attacks.pgd import denoising_loss

    found = [0.0] * len(images)
    for rows, counts, stacked, prompts in parts_of(images, captions, side):
        losses = denoising_loss(pipeline, stacked, prompts, DRAWS, batch_size)
        for row, own in zip(rows, losses.split(counts), strict=True):
            found[row] = own.mean().item()
    return found


def attack_table(entries: dict[str, dict[str, Any]], norm: str = "linf") -> Table:
    """Show what was done to each image, if there are not too many, and the mean over all."""
    losses = [name for name in LOSSES if all(name in entry for entry in entries.values())]
    table = Table("image", "eps used", "SSIM", *(n.replace("_", " ") for n in losses), "seconds")
    count = max(1, len(entries))  # a share may be empty
    mean = {n: sum(e[n] for e in entries.values()) / count for n in (*MEASURED, *losses)}
    shown = entries if len(entries) <= ROWS_SHOWN else {}
    for name, entry in {**shown, f"mean of {len(entries)}": mean}.items():
        eps, ssim, seconds = (entry[column] for column in MEASURED)
        used = f"{eps * 255:.1f}/255" if norm == "linf" else f"{eps:.2f}"
        fit = (f"{entry[column]:.4f}" for column in losses)
        table.add_row(name, used, f"{ssim:.3f}", *fit, f"{seconds:.1f}")
    return table


def scores_of(
    pipeline: "Pipeline", images: "Tensor", captions: Sequence[str], batch_size: int
) -> "Tensor":
    """Score images as `lord.defences.audit.gate_scores` does, in batches."""
    import torch

    from lord.defences.audit import gate_scores

    batches = [slice(start, start + batch_size) for start in range(0, len(images), batch_size)]
    return torch.cat(
        [
            gate_scores(pipeline, images[b], captions[b])
            for b in track(batches, f"batches of {batch_size} images")
        ]
    )
