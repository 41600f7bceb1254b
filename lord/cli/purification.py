"""The command that purifies images before anything learns from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lord.cli.folders import album_requests, say_companions
from lord.cli.manifest import Manifest, identity_of, image_files, of_shard
from lord.cli.opening import (
    Loading,
    native_size,
    open_album,
    open_ddpm,
    open_pipeline,
    require_folders,
    say_notes,
    usual_batch,
)
from lord.cli.options import (
    MODEL_PANEL,
    BatchSize,
    Caption,
    Originals,
    Purifier,
    Seed,
    Share,
    Size,
    Upscale,
)
from lord.cli.settings import loads_model
from lord.names import IN_PIXELS
from lord.progress import say

if TYPE_CHECKING:
    from diffusers import DDPMPipeline
    from torch import Tensor

    from lord.models.diffusion import Pipeline


@loads_model
def purify(
    images: Originals,
    out: Annotated[Path, typer.Argument(help="Folder for the purified images.")],
    *,
    method: Annotated[
        Purifier,
        typer.Option(
            help="jpeg, blur, total_variation and adverse_cleaner are filters; diffpure, gridpure, "
            "impress and cat use the model, those in pixels the model of --pixel-model. Each is "
            "explained in lord.purifiers.methods."
        ),
    ] = "diffpure",
    caption: Caption = "a photograph",
    size: Size = None,
    upscale: Upscale = False,
    seed: Seed = 0,
    batch_size: BatchSize = None,
    shard: Share = None,
    pixel_model: Annotated[
        str | None,
        typer.Option(
            help="An unconditional model, for methods in pixels: 'embedded', which has learned "
            "portraits alone, or the folder of a DDPMPipeline.",
            show_default="embedded",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    loading: Loading,
) -> None:
    """Purify the images of a folder, which may be attacked, before anything learns from them.

    Writes each as PNG, cut to a square of the model's size, with its caption. Run again, the
    command makes only what is missing.

    Methods in pixels leave the size of pictures as it is, unless --size is given: they are scaled
    so that their shorter side is the model's, and back, which takes from larger ones what only
    these show. Their longer side goes through the model in windows.

    **Examples**: noise the attacked images a little and let the model denoise them; the same in
    pixels, by a model of your own.

    ```
    lord purify attacked purified --method diffpure
    lord purify attacked purified --method pixel_diffpure --pixel-model mine/portraits
    ```
    """
    require_folders(images, out, shard)
    in_pixels = method in IN_PIXELS
    if in_pixels and loading.model_copy(update={"device": None}) != Loading():
        raise ValueError(
            f"--model, --revision, --dtype, --memory: {method} uses --pixel-model, in single "
            "precision"
        )
    if pixel_model and not in_pixels:
        raise ValueError(f"--pixel-model: {method} uses --model")
    from lord.data.folder import files_of, list_images
    from lord.purifiers.methods import TOGETHER
    from lord.seeding import derive_seed

    if shard and method in TOGETHER:
        raise ValueError(f"--shard: {method} learns from all images together")
    Manifest(out, shard=shard).require_own(image_files(path.stem for path in list_images(images)))
    if in_pixels:
        pipeline, side = open_ddpm(pixel_model or "embedded", loading.device), size
    else:
        pipeline = open_pipeline(loading)
        side = size or native_size(pipeline)
    album = open_album(images, side, caption, upscale)
    say_notes(images, album, None if in_pixels else pipeline, captions=not in_pixels)
    names = [path.stem for path in album.paths]
    together = method in TOGETHER
    batch_size = usual_batch(batch_size, loading.model, pipeline)
    common = identity_of(pipeline) | {"method": method, "seed": seed}
    requests = album_requests(album, common, together)
    manifest = Manifest(out, common, shard)
    manifest.require_alone(names)
    for rows in manifest.missing(names, requests, len(album) if together else batch_size):
        captions = album.captions[rows]
        seeds = [derive_seed(seed, name) for name in names[rows]]
        clean = _purified(pipeline, album.images[rows], captions, seeds, method, batch_size)
        files = [
            files_of(names[k], image, album.captions[k], album.alpha(k))
            for k, image in enumerate(clean, rows.start)
        ]
        manifest.put(names[rows], requests[rows], files)
    say(f"{of_shard(shard)}{len(album)} purified pictures with captions are in {out}")
    say_companions(manifest, names)


def _purified(
    pipeline: "Pipeline | DDPMPipeline",
    images: "Sequence[Tensor]",
    captions: list[str],
    seeds: list[int],
    method: str,
    batch_size: int,
) -> "list[Tensor]":
    """Images (3, H, W), of one shape all at once."""
    import torch

    from lord.purifiers.methods import purify as purify_alike

    clean = list(images)
    for shape in sorted({image.shape for image in clean}):
        rows = [row for row, image in enumerate(clean) if image.shape == shape]
        own = ([given[row] for row in rows] for given in (captions, seeds))
        alike = torch.stack([clean[row] for row in rows])
        found = purify_alike(pipeline, alike, *own, method, batch_size)
        for row, image in zip(rows, found, strict=True):
            clean[row] = image
    return clean
