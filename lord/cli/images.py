"""Commands on images before any training: they are rendered, attacked, or tested for attacks."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from lord.attacks.settings import PATTERN, PUBLISHED, AttackSettings
from lord.cli.folders import (
    attack_folder,
    attack_table,
    require_fitting,
    say_companions,
    scores_of,
)
from lord.cli.manifest import Manifest, image_files, request_of
from lord.cli.opening import (
    Loading,
    native_size,
    open_album,
    open_pipeline,
    require_album,
    require_defence,
    require_folders,
    say_notes,
    usual_batch,
)
from lord.cli.options import (
    LARGEST_SEED,
    LARGEST_SIDE,
    BatchSize,
    Caption,
    Domain,
    Originals,
    Seed,
    Share,
    Size,
    Upscale,
    parse_number,
)
from lord.cli.outputs import require_out
from lord.cli.settings import loads_model, options_from
from lord.progress import results, say, track

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
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many pictures.")] = 16,
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
    size: Annotated[
        int, typer.Option(min=16, max=LARGEST_SIDE, help="Side of the pictures, in pixels.")
    ] = 64,
    seed: Annotated[
        int, typer.Option(max=LARGEST_SEED, help="Other people or places, without --subject.")
    ] = 0,
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
    if references and subject is None:
        raise ValueError("--references: give the --subject they should show")
    require_out(out)
    from lord.data.folder import files_of
    from lord.data.subjects import Subject, sample_domain
    from lord.seeding import derive_seed

    asked = {
        "domain": domain,
        "subject": subject,
        "references": references,
        "split": split,
        "size": size,
        "seed": seed,
    }
    names = [f"{'reference' if references else 'picture'}-{k:05d}" for k in range(count)]
    manifest = Manifest(out, {"rendered": asked})
    manifest.require_own(image_files(names))
    manifest.require_alone(names)
    if subject is None:
        numbers = [derive_seed("render", seed, k) for k in range(count)]
        batch = sample_domain(domain, split, numbers, size)
        captions = batch.captions
    else:
        shown = Subject(domain, split, subject)
        batch = (shown.references if references else shown.photographs)(count, size)
        captions = [shown.prompt] * count
    requests = [request_of({"rendered": asked, "number": k}) for k in range(count)]
    for start in track(range(0, count, 64), "saving"):
        few = range(start, min(start + 64, count))
        files = [files_of(names[k], batch.images[k], captions[k]) for k in few]
        manifest.put([names[k] for k in few], [requests[k] for k in few], files)
    say(f"{count} pictures with captions are in {out}")
    say_companions(manifest, names)


@options_from(
    AttackSettings,
    "settings",
    open_fields=AS_PUBLISHED,
    finer=[name for name in AttackSettings.model_fields if name.startswith("surrogate_")],
)
@loads_model
def attack(
    images: Originals,
    out: Annotated[Path, typer.Argument(help="Folder for the attacked images.")],
    *,
    settings: AttackSettings,
    caption: Caption = "a photograph",
    size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=LARGEST_SIDE,
            help="Cut images to squares and scale them to this side, in pixels.",
            show_default="as they are",
        ),
    ] = None,
    upscale: Upscale = False,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    shard: Share = None,
    loading: Loading,
) -> None:
    """Attack the images of a folder, so that a LoRA trained on them fails.

    Writes each as PNG in its own size, with its caption. The change stays within --eps. What is
    larger than the model's images is attacked part by part; a LoRA that is to fail has to see the
    pictures at this scale. With --size, pictures are cut to a square and scaled first.

    Transparent pictures keep their transparency; what is attacked is how they look on white. The
    folder is this command's own: pictures that it did not write there are never replaced.

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
    require_folders(images, out, shard)
    if shard and settings.together:
        raise ValueError(
            "--shard: the surrogate of this attack learns from all images together; ace has none "
            "with --rounds 1"
        )
    from lord.data.folder import list_images
    from lord.data.picture import read_image

    Manifest(out, shard=shard).require_own(image_files(path.stem for path in list_images(images)))
    if settings.target not in (None, PATTERN):
        read_image(settings.target, (1, 1))  # a missing one is found before a model is loaded
    album = open_album(images, size, caption, upscale)
    pipeline = open_pipeline(loading)
    side = size or native_size(pipeline)
    require_fitting(album, side, settings)
    if settings.component:
        from lord.models.components import select

        select(pipeline, settings.component)  # one that is not there is named before any work
    say_notes(images, album, pipeline)
    batch_size = usual_batch(batch_size, loading.model, pipeline)
    entries = attack_folder(
        pipeline, album, side, out, settings, seed, batch_size, shard, losses=True
    )
    results.print(attack_table(entries, settings.norm))


@loads_model
def audit(
    images: Originals,
    *,
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
    upscale: Upscale = False,
    loading: Loading,
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

    from lord.defences.audit import load_calibration
    from lord.defences.saved import load_defence

    calibration = load_calibration(defence)
    calibration.probability(torch.empty(0), prior)  # finds a bad prior before a model is loaded
    pipeline = open_pipeline(loading)
    album = open_album(images, size or native_size(pipeline), caption, upscale)
    say_notes(images, album, pipeline)
    load_defence(pipeline, defence)
    batch_size = usual_batch(None, loading.model, pipeline)
    scores = scores_of(pipeline, album.images, album.captions, batch_size)
    probabilities = calibration.probability(scores, prior).tolist()
    table = Table("image", "attacked")
    for path, probability in zip(album.paths, probabilities, strict=True):
        table.add_row(path.name, f"{probability:.0%}")
    results.print(table)
