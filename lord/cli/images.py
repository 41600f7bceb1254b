"""Commands that make images: rendered, attacked and purified ones."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from lord.attacks.settings import PATTERN, PUBLISHED, AttackSettings
from lord.cli.folders import album_requests, attack_folder, attack_table, scores_of
from lord.cli.manifest import Manifest, identity_of
from lord.cli.options import (
    BatchSize,
    Caption,
    Device,
    Domain,
    Dtype,
    Model,
    Originals,
    Purifier,
    Revision,
    Seed,
    Size,
    native_size,
    open_pipeline,
    parse_number,
    require_album,
    require_defence,
    require_folders,
    require_out,
    usual_batch,
)
from lord.cli.settings import options_from
from lord.progress import console, track

AS_PUBLISHED = {name: "as published" for settings in PUBLISHED.values() for name in settings} | {
    "eps": "as published, 4/255 for ace",
    "step_size": "as published, 0.64/255 for ace",
    "steps": "as published, 30 for ace",
    "draws": "as published, mostly 1",
    "rounds": "as published, 5 for ace",
    "method": "ace, or component where one is given",
}
"""Settings that depend on the method, with what the help says of them."""


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


@options_from(
    AttackSettings,
    "settings",
    open_fields=AS_PUBLISHED,
    finer=[name for name in AttackSettings.model_fields if name.startswith("surrogate_")],
)
def attack(
    images: Originals,
    out: Annotated[Path, typer.Argument(help="Folder for the attacked images.")],
    settings: AttackSettings,
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
    batch_size: BatchSize = None,
    model: Model = "embedded",
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Attack the images of a folder, so that a LoRA trained on them fails.

    Writes each as PNG in its own size, with its caption. The change stays within --eps. What is
    larger than the model's images is attacked part by part; a LoRA that is to fail has to see the
    pictures at this scale. With --size, pictures are cut to a square and scaled first.

    Run again, the command goes on with the first batch of which something is missing. An attack
    whose surrogate learns all images together, as ace with more than one round, starts over.

    With --component, it is not a LoRA that is to fail, but the variation of an image (img2img, with
    its caption and guidance 7.5): the features of that component are driven away from those of the
    clean image. `lord components` lists what there is.

    **Examples**: sixty steps of one grey level, at most eight; one component; then the attack as
    it was published, on Stable Diffusion.

    ```
    lord attack album attacked --eps 8/255 --step-size 1/255 --steps 60 --rounds 1
    lord attack album attacked --component up.2.attention
    lord attack album attacked --model stable-diffusion-v1-5/stable-diffusion-v1-5
    ```
    """
    require_folders(images, out)
    from lord.data.folder import load_folder, load_originals, read_image

    if settings.target not in (None, PATTERN):
        read_image(settings.target, (1, 1))  # a missing one is found before a model is loaded
    album = load_folder(images, size, caption) if size else load_originals(images, caption)
    pipeline = open_pipeline(model, device, dtype, revision)
    if settings.component:
        from lord.models.components import select

        select(pipeline, settings.component)  # one that is not there is named before any work
    side, batch_size = size or native_size(pipeline), usual_batch(batch_size, model)
    entries = attack_folder(pipeline, album, side, out, settings, seed, batch_size)
    Console().print(attack_table(entries, settings.norm))


def purify(
    images: Originals,
    out: Annotated[Path, typer.Argument(help="Folder for the purified images.")],
    method: Annotated[
        Purifier,
        typer.Option(
            help="jpeg, blur, total_variation and adverse_cleaner are filters; diffpure, gridpure, "
            "impress and cat use the model. Each is explained in lord.purifiers.methods."
        ),
    ] = "diffpure",
    caption: Caption = "a photograph",
    size: Size = None,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    model: Model = "embedded",
    revision: Revision = None,
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
    from lord.purifiers.methods import TOGETHER
    from lord.purifiers.methods import purify as purified
    from lord.seeding import derive_seed

    pipeline = open_pipeline(model, device, dtype, revision)
    album = load_folder(images, size or native_size(pipeline), caption)
    names = [path.stem for path in album.paths]
    together = method in TOGETHER
    batch_size = usual_batch(batch_size, model)
    common = identity_of(pipeline) | {"method": method, "seed": seed}
    requests = album_requests(album, common, together)
    manifest = Manifest(out)
    for rows in manifest.missing(names, requests, len(album) if together else batch_size):
        captions = album.captions[rows]
        seeds = [derive_seed(seed, name) for name in names[rows]]
        clean = purified(pipeline, album.images[rows], captions, seeds, method, batch_size)
        manifest.forget(names[rows])
        save_images(clean, out, names[rows], captions)
        manifest.add(names[rows], requests[rows], [{}] * len(clean))
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
    revision: Revision = None,
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
    pipeline = open_pipeline(model, device, dtype, revision)
    album = load_folder(images, size or native_size(pipeline), caption)
    load_defence(pipeline, defence)
    scores = scores_of(pipeline, album.images, album.captions)
    probabilities = calibration.probability(scores, prior).tolist()
    table = Table("image", "attacked")
    for path, probability in zip(album.paths, probabilities, strict=True):
        table.add_row(path.name, f"{probability:.0%}")
    Console().print(table)
