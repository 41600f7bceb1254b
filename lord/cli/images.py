"""Commands that make images: rendered, attacked and purified ones."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from lord.cli.ledger import Ledger, digest, digest_files, request_of
from lord.cli.options import (
    FINER,
    Caption,
    Device,
    Domain,
    Dtype,
    Method,
    Model,
    Originals,
    Purifier,
    Seed,
    Size,
    native_size,
    open_pipeline,
    parse_number,
    require_album,
    require_defence,
    require_folders,
    require_out,
)
from lord.progress import console, track

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from torch import Tensor

    from lord.attacks.settings import AttackSettings
    from lord.data.folder import ImageSet

ROWS_SHOWN = 24


def render(
    out: Annotated[Path, typer.Argument(help="Folder for the pictures and their captions.")],
    domain: Annotated[Domain, typer.Option(help="What to show.")] = "portraits",
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 16,
    subject: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of the one person or place that all pictures show; their captions are the "
            "prompt that stands for it. Without, every picture shows somebody or somewhere else, "
            "described in its caption.",
        ),
    ] = None,
    references: Annotated[
        bool, typer.Option("--references", help="Other pictures of the subject, to compare with.")
    ] = False,
    split: Annotated[
        Literal["train", "stage1", "evaluation"],
        typer.Option(help="Of whom: no person or place is in two of these."),
    ] = "evaluation",
    size: Annotated[int, typer.Option(min=16, help="Side of the pictures, in pixels.")] = 64,
    seed: Annotated[int, typer.Option(help="Other people or places, without --subject.")] = 0,
) -> None:
    """Render pictures of people or landscapes, each with a caption.

    Nobody real is shown: every picture is drawn from numbers.

    **Example**: sixteen photographs of one person to learn from, and other pictures of the
    same person to compare the result with.

    ```
    lord render album --subject 0
    lord render reference --subject 0 --references --count 256
    ```
    """
    require_out(out)
    from lord.data.folder import save_images
    from lord.data.subjects import Subject, sample_domain
    from lord.seeding import derive_seed

    if subject is None:
        if references:
            raise ValueError("--references: give the --subject they should show")
        numbers = [derive_seed("render", seed, k) for k in range(count)]
        batch = sample_domain(domain, split, numbers, size)
        captions = batch.captions
    else:
        shown = Subject(domain, split, subject)
        batch = (shown.references if references else shown.photographs)(count, size)
        captions = [shown.prompt] * count
    kind = "reference" if references else "picture"
    for k in track(range(count), "saving"):
        save_images(batch.images[k : k + 1], out, [f"{kind}-{k:05d}"], captions[k : k + 1])
    console.print(f"{count} pictures with captions are in {out}")


def attack(
    images: Originals,
    out: Annotated[Path, typer.Argument(help="Folder for the attacked images.")],
    method: Annotated[
        Method,
        typer.Option(
            help="What the perturbation wants: ace drives the model to a target image, advdm away "
            "from the image; noise is no attack but their control. The others are explained, a "
            "short function each, in lord.objectives."
        ),
    ] = "ace",
    eps: Annotated[
        float | None,
        typer.Option(
            parser=parse_number,
            metavar="NUMBER",
            help="The most a pixel may change, of 1: 8/255 is eight grey levels. With --norm l2, "
            "the length of the change of a whole image.",
            show_default="as published, 4/255 for ace",
        ),
    ] = None,
    step_size: Annotated[
        float | None,
        typer.Option(
            parser=parse_number,
            metavar="NUMBER",
            help="Change of a pixel in one step.",
            show_default="as published, 0.64/255 for ace",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps in each round.",
            show_default="as published, 30 for ace",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Where a targeted attack leads: 'pattern', or an image file.",
            show_default="pattern",
        ),
    ] = None,
    norm: Annotated[
        Literal["linf", "l2"],
        typer.Option(help="What --eps bounds: every pixel, or the length of the whole change."),
    ] = "linf",
    random_start: Annotated[
        bool | None,
        typer.Option(
            "--random-start/--no-random-start",
            help="Start at a random change within the budget.",
            show_default="as published",
        ),
    ] = None,
    step_decay: Annotated[
        bool | None,
        typer.Option(
            "--step-decay/--no-step-decay",
            help="Shrink the step over the steps.",
            show_default="as published",
        ),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(
            help="Timesteps and noises averaged in each step.",
            show_default="as published, mostly 1",
        ),
    ] = None,
    transformations: Annotated[
        list[str] | None,
        typer.Option(
            "--transformation",
            help="jpeg, resize or blur: what each step sees the images through; may be repeated.",
        ),
    ] = None,
    surrogate: Annotated[
        Literal["none", "fixed", "alternating", "cloned"] | None,
        typer.Option(
            help="Whether a copy of the model learns the images and is attacked in its place: "
            "before the steps, between rounds, or as in ASPL.",
            show_default="as published",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Rounds; between them a copy of the model learns the attacked images, all "
            "together. A killed attack of one round and no such copy goes on where it was, others "
            "start over.",
            show_default="as published, 5 for ace",
        ),
    ] = None,
    surrogate_steps: Annotated[
        int | None,
        typer.Option(
            help="Training steps of that copy.", rich_help_panel=FINER, show_default="as published"
        ),
    ] = None,
    surrogate_batch_size: Annotated[
        int | None,
        typer.Option(
            help="Images in each of them.", rich_help_panel=FINER, show_default="as published"
        ),
    ] = None,
    surrogate_rank: Annotated[
        int | None,
        typer.Option(help="Rank of its LoRA.", rich_help_panel=FINER, show_default="as published"),
    ] = None,
    surrogate_learning_rate: Annotated[
        float | None,
        typer.Option(help="Its learning rate.", rich_help_panel=FINER, show_default="as published"),
    ] = None,
    caption: Caption = "a photograph",
    size: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Cut images to squares and scale them to this side, in pixels.",
            show_default="as they are",
        ),
    ] = None,
    seed: Seed = 0,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images attacked at a time: memory and speed.")
    ] = 16,
    model: Model = "embedded",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Attack the images of a folder, so that a LoRA trained on them fails.

    Writes each as PNG in its own size, with its caption. The change stays within --eps. What is
    larger than the model's images is attacked part by part; a LoRA that is to fail has to see the
    pictures at this scale. With --size, pictures are cut to a square and scaled first.

    Run again, the command goes on with the first batch of which something is missing. A surrogate
    that learns all images together starts over, see --rounds.

    **Examples**: sixty steps of one grey level, at most eight; then the attack as it was
    published, on Stable Diffusion.

    ```
    lord attack album attacked --eps 8/255 --step-size 1/255 --steps 60 --rounds 1
    lord attack album attacked --model stable-diffusion-v1-5/stable-diffusion-v1-5
    ```
    """
    require_folders(images, out)
    from lord.attacks.settings import PATTERN, AttackSettings
    from lord.data.folder import load_folder, load_originals, read_image

    given = {
        "method": method,
        "norm": norm,
        "eps": eps,
        "step_size": step_size,
        "steps": steps,
        "target": target,
        "random_start": random_start,
        "step_decay": step_decay,
        "draws": draws,
        "transformations": transformations,
        "surrogate": surrogate,
        "rounds": rounds,
        "surrogate_steps": surrogate_steps,
        "surrogate_batch_size": surrogate_batch_size,
        "surrogate_rank": surrogate_rank,
        "surrogate_learning_rate": surrogate_learning_rate,
    }
    settings = AttackSettings(**{name: v for name, v in given.items() if v is not None})
    if settings.target not in (None, PATTERN):
        read_image(settings.target, (1, 1))  # a missing one is found before a model is loaded
    album = load_folder(images, size, caption) if size else load_originals(images, caption)
    pipeline = open_pipeline(model, device, dtype)
    side = size or native_size(pipeline)
    entries = attack_folder(pipeline, album, side, out, settings, seed, batch_size)
    Console().print(attack_table(entries, norm))


def purify(
    images: Originals,
    out: Annotated[Path, typer.Argument(help="Folder for the purified images.")],
    method: Annotated[
        Purifier,
        typer.Option(
            help="jpeg, blur, total_variation and adverse_cleaner are filters; diffpure, gridpure, "
            "impress and cat use the model. Each is explained in lord.purification."
        ),
    ] = "diffpure",
    caption: Caption = "a photograph",
    size: Size = None,
    seed: Seed = 0,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Images purified at a time: memory and speed.")
    ] = 16,
    model: Model = "embedded",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Purify the images of a folder, which may be attacked, before anything learns from them.

    Writes each as PNG, cut to a square of the model's size, with its caption. Run again, the
    command makes only what is missing.

    **Example**: noise the attacked images a little and let the model denoise them.

    ```
    lord purify attacked purified --method diffpure
    ```
    """
    require_folders(images, out)
    from lord.data.folder import load_folder, save_images
    from lord.models.card import weights_checksum
    from lord.purifiers import TOGETHER
    from lord.purifiers import purify as purified
    from lord.seeding import derive_seed

    pipeline = open_pipeline(model, device, dtype)
    album = load_folder(images, size or native_size(pipeline), caption)
    names = [path.stem for path in album.paths]
    common = {
        "model": pipeline.name_or_path,
        "weights": weights_checksum(str(pipeline.name_or_path)),
        "dtype": str(pipeline.dtype),
        "method": method,
        "seed": seed,
    }
    contents = [digest(image.numpy().tobytes()) for image in album.images]
    together = method in TOGETHER
    common["companions"] = sorted(contents) if together else None
    requests = [
        request_of(common | {"image": content, "caption": text})
        for content, text in zip(contents, album.captions, strict=True)
    ]
    ledger = Ledger(out)
    unit = len(album) if together else batch_size
    for start in track(range(0, len(album), unit), "images"):
        rows = slice(start, start + unit)
        # Batches are always the same, so that a resumed run does not differ even in rounding.
        if all(map(ledger.answers, names[rows], requests[rows])):
            continue
        captions = album.captions[rows]
        seeds = [derive_seed(seed, name) for name in names[rows]]
        clean = purified(pipeline, album.images[rows], captions, seeds, method, batch_size)
        ledger.forget(names[rows])
        save_images(clean, out, names[rows], captions)
        ledger.add(names[rows], requests[rows], [{}] * len(clean))
    console.print(f"{len(album)} purified pictures with captions are in {out}")


def audit(
    images: Originals,
    defence: Annotated[
        Path, typer.Option(help="Whose gates are asked: a LoRD, from `lord defend`.")
    ],
    prior: Annotated[
        float,
        typer.Option(
            parser=parse_number,
            metavar="NUMBER",
            help="The share of attacked images among those that you see, as far as you know.",
        ),
    ] = "0.5",  # type: ignore[assignment]
    caption: Caption = "a photograph",
    size: Size = None,
    model: Model = "embedded",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Tell how likely each image of a folder is to be attacked.

    The gates of the defence have learned to tell attacked images from clean ones. They know the
    attack they have seen and its relatives; that they find nothing does not prove that an image is
    clean.

    **Example**: audit an album before training on it.

    ```
    lord audit album --defence defence --prior 0.1
    ```
    """
    require_album(images)
    require_defence(defence)
    import torch

    from lord.data.folder import load_folder
    from lord.defences.audit import load_calibration
    from lord.defences.saved import load_defence

    calibration = load_calibration(defence)
    calibration.probability(torch.empty(0), prior)  # finds a bad prior before a model is loaded
    pipeline = open_pipeline(model, device, dtype)
    album = load_folder(images, size or native_size(pipeline), caption)
    load_defence(pipeline, defence)
    scores = scores_of(pipeline, album.images, album.captions)
    probabilities = calibration.probability(scores, prior).tolist()
    table = Table("image", "attacked")
    for path, probability in zip(album.paths, probabilities, strict=True):
        table.add_row(path.name, f"{probability:.0%}")
    Console().print(table)


def scores_of(
    pipeline: "StableDiffusionPipeline", images: "Tensor", captions: Sequence[str]
) -> "Tensor":
    """The scores of `lord.defences.audit.gate_scores`, in batches."""
    import torch

    from lord.defences.audit import gate_scores

    batches = [slice(start, start + 16) for start in range(0, len(images), 16)]
    return torch.cat(
        [gate_scores(pipeline, images[b], captions[b]) for b in track(batches, "images")]
    )


def attack_folder(
    pipeline: "StableDiffusionPipeline",
    album: "ImageSet",
    side: int,
    out: Path,
    settings: "AttackSettings",
    seed: int,
    batch_size: int,
) -> dict[str, dict[str, Any]]:
    """Attack images and save them with their captions, leaving out those that are there already.

    Args:
        side: images that are larger are attacked in parts of this side.

    Returns:
        For each image, by name, the size of the change (``eps``, in the norm of the settings, of
        the part where it is largest), the structural similarity to the original (``ssim``, 1 at
        most), the denoising loss before and after, and the seconds it took.

    Raises:
        ValueError: an image is larger than ``side`` and the budget is one of a whole image (l2).
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    from lord.attacks.pgd import denoising_loss
    from lord.attacks.settings import PATTERN
    from lord.data.folder import save_images
    from lord.data.tiles import split
    from lord.models.card import weights_checksum

    names = [path.stem for path in album.paths]
    contents = []
    for name, image in zip(names, album.images, strict=True):
        if settings.norm == "l2" and max(image.shape[1:]) > side:
            raise ValueError(
                f"{name}: larger than the model's images, {side} pixels, so that an l2 budget for "
                "all of it cannot be kept; give --size"
            )
        contents.append(digest(image.numpy().tobytes()))
    target = None if settings.target in (None, PATTERN) else digest_files(Path(settings.target))
    common = {
        "model": pipeline.name_or_path,
        "weights": weights_checksum(str(pipeline.name_or_path)),
        "dtype": str(pipeline.dtype),
        "settings": settings.model_dump(),
        "target": target,
        "seed": seed,
        "side": side,
        # The surrogate learns from all images together.
        "companions": sorted(contents) if settings.together else None,
    }
    requests = [
        request_of(common | {"image": content, "caption": caption})
        for content, caption in zip(contents, album.captions, strict=True)
    ]
    ledger = Ledger(out)
    order = math.inf if settings.norm == "linf" else 2
    unit = len(album) if settings.together else batch_size
    for start in track(range(0, len(album), unit), "images"):
        rows = slice(start, start + unit)
        # Batches are always the same, so that a resumed run does not differ even in rounding.
        if all(map(ledger.answers, names[rows], requests[rows])):
            continue
        clean, captions = list(album.images[rows]), album.captions[rows]
        began = time.perf_counter()
        attacked = attack_originals(
            pipeline, clean, captions, names[rows], side, settings, seed, batch_size
        )
        seconds = (time.perf_counter() - began) / len(clean)
        ledger.forget(names[rows])
        numbers = []
        for before, after, name, text in zip(clean, attacked, names[rows], captions, strict=True):
            save_images(after[None], out, [name], [text])
            change = split(after - before, side).flatten(1).norm(order, dim=1).max()
            likeness = structural_similarity_index_measure(
                after[None], before[None], data_range=1.0
            )
            fitted, unfitted = (
                denoising_loss(pipeline, parts, [text] * len(parts), batch_size=batch_size)
                for parts in (split(before, side), split(after, side))
            )
            numbers.append(
                {
                    "eps": change.item(),
                    "ssim": likeness.item(),
                    "loss_before": fitted.mean().item(),
                    "loss_after": unfitted.mean().item(),
                    "seconds": seconds,
                }
            )
        ledger.add(names[rows], requests[rows], numbers)
    return {name: ledger.entries[name] for name in names}


def attack_originals(
    pipeline: "StableDiffusionPipeline",
    images: list["Tensor"],
    captions: list[str],
    names: list[str],
    side: int,
    settings: "AttackSettings",
    seed: int,
    batch_size: int,
) -> list["Tensor"]:
    """Images (3, H, W) of any sizes, attacked in parts of at most ``side`` (see `lord.data.tiles`).

    Parts of one shape go through the attack together. An image's random numbers depend on its name.
    """
    import numpy as np
    import torch

    from lord.attacks.pgd import attack as perturb
    from lord.data.tiles import join, split
    from lord.seeding import derive_seed

    parts = [split(image, side) for image in images]
    attacked = list(images)
    for shape in sorted({part.shape[1:] for part in parts}):
        rows = [row for row, part in enumerate(parts) if part.shape[1:] == shape]
        counts = [len(parts[row]) for row in rows]
        prompts = np.repeat([captions[row] for row in rows], counts).tolist()
        seeds = [
            derive_seed(seed, names[row], k)
            for row, count in zip(rows, counts, strict=True)
            for k in range(count)
        ]
        stacked = torch.cat([parts[row] for row in rows])
        perturbed = perturb(pipeline, stacked, prompts, settings, seeds, batch_size)
        for row, part in zip(rows, perturbed.split(counts), strict=True):
            attacked[row] = join(part, *images[row].shape[1:], side)
    return attacked


def attack_table(entries: dict[str, dict[str, Any]], norm: str = "linf") -> Table:
    """What was done to each image, if there are not too many, and the mean over all."""
    columns = ("eps", "ssim", "loss_before", "loss_after", "seconds")
    table = Table("image", "eps used", "SSIM", "loss before", "loss after", "seconds")
    mean = {name: sum(e[name] for e in entries.values()) / len(entries) for name in columns}
    shown = entries if len(entries) <= ROWS_SHOWN else {}
    for name, entry in {**shown, f"mean of {len(entries)}": mean}.items():
        eps, ssim, before, after, seconds = (entry[column] for column in columns)
        losses = (f"{before:.4f}", f"{after:.4f}")
        used = f"{eps * 255:.1f}/255" if norm == "linf" else f"{eps:.2f}"
        table.add_row(name, used, f"{ssim:.3f}", *losses, f"{seconds:.1f}")
    return table
