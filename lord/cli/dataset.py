"""Commands that make data sets for editing out of a folder of images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lord.cli.folders import say_companions
from lord.cli.manifest import Manifest, digest, request_of
from lord.cli.opening import open_album, require_folders, say_notes
from lord.cli.options import Caption, Originals, Seed
from lord.progress import say

if TYPE_CHECKING:
    from torch import Tensor

    from lord.data.folder import ImageSet
    from lord.editing.dataset import Sample

app = typer.Typer(no_args_is_help=True)

SHARED = "."
"""The name, in the manifest, of the files about all rows."""

Out = Annotated[Path, typer.Argument(help="Folder for the data set.")]


@app.callback()
def dataset() -> None:
    """Make a data set for editing out of a folder of images of any sizes.

    Writes a Hugging Face `imagefolder` that `datasets.load_dataset` reads, and a contact sheet to
    look at. Run again, a command makes only what is missing; the same seed gives the same data.

    **Example**: masks to paint anew, for every picture of an album.

    ```
    lord dataset inpainting album pairs
    python -c "import datasets; print(datasets.load_dataset('pairs'))"
    ```
    """


@app.command(no_args_is_help=True)
def inpainting(
    images: Originals, out: Out, caption: Caption = "a photograph", seed: Seed = 0
) -> None:
    """Make (picture, mask, corrupted picture, prompt).

    Masks are random shapes under rotation, scaling, cropping and blurring, or segments of the
    picture that are larger than 5 % of it.
    """
    from lord.editing.dataset import inpainting_sample

    album = _open(images, out, caption)
    columns = ("image", "mask", "corrupted")
    _make(album, out, seed, {"task": "inpainting"}, columns, inpainting_sample)


@app.command(name="super-resolution", no_args_is_help=True)
def super_resolution(
    images: Originals,
    out: Out,
    factor: Annotated[int, typer.Option(min=2, max=64, help="How many times smaller.")] = 4,
    caption: Caption = "a photograph",
    seed: Seed = 0,
) -> None:
    """Make (picture, low resolution), each made small by one of several kernels."""
    from lord.editing.dataset import low_resolution_sample

    def make(image: "Tensor", prompt: str, number: int) -> "Sample":
        return low_resolution_sample(image, prompt, number, factor)

    album = _open(images, out, caption)
    for path, image in zip(album.paths, album.images, strict=True):
        if min(image.shape[-2:]) < 2 * factor:
            height, width = image.shape[-2:]
            raise ValueError(f"{path}: {width} x {height} pixels are too few for --factor {factor}")
    asked = {"task": "super-resolution", "factor": factor}
    _make(album, out, seed, asked, ("image", "low_resolution"), make)


@app.command(no_args_is_help=True)
def variation(
    images: Originals,
    out: Out,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Text file with a prompt on each line.",
            show_default="the captions of all images",
        ),
    ] = None,
    kept: Annotated[int, typer.Option(min=1, help="How many of them each image keeps.")] = 5,
    caption: Caption = "a photograph",
    seed: Seed = 0,
) -> None:
    """Make (picture, prompts), the prompts ranked by how well they suit it.

    The CLIP that comes with the package ranks them; it knows portraits and landscapes as they are
    rendered here.
    """
    from lord.editing.dataset import variation_sample
    from lord.files import read_text
    from lord.metrics.clip import load_clip

    candidates: list[str] = []
    if prompts is not None:
        if not prompts.is_file():
            raise FileNotFoundError(f"{prompts}: no such file. Give a text file with prompts.")
        lines = read_text(prompts).splitlines()
        candidates = list(dict.fromkeys(filter(None, map(str.strip, lines))))
        if not candidates:
            raise ValueError(f"{prompts}: there is no prompt in it")
    album = _open(images, out, caption)
    candidates = candidates or sorted(set(album.captions))
    encoder = load_clip()
    asked = {"task": "variation", "candidates": candidates, "kept": kept}

    def make(image: "Tensor", prompt: str, number: int) -> "Sample":
        return variation_sample(image, encoder, candidates, kept)

    _make(album, out, seed, asked, ("image",), make)


def _open(images: Path, out: Path, caption: str) -> "ImageSet":
    """The images of a folder in their own sizes, once what cannot be done is refused."""
    require_folders(images, out)
    album = open_album(images, None, caption)
    say_notes(images, album)
    return album


def _make(
    album: "ImageSet",
    out: Path,
    seed: int,
    asked: dict,
    columns: Sequence[str],
    make: "Callable[[Tensor, str, int], Sample]",
) -> None:
    """Make the rows that are missing, then the files about all of them."""
    from lord.editing.dataset import METADATA, SHEET, SPLIT, row_files, row_path, shared_files
    from lord.seeding import derive_seed

    names = [path.stem for path in album.paths]
    requests = [
        request_of(asked | {"seed": seed, "caption": text, "image": digest(path.read_bytes())})
        for path, text in zip(album.paths, album.captions, strict=True)
    ]
    manifest = Manifest(out, asked | {"seed": seed})
    pictures = [f"{SPLIT}/{column}/{name}.png" for column in columns for name in names]
    shared = [f"{SPLIT}/{METADATA}", SHEET]
    manifest.require_own([*pictures, *map(row_path, names), *shared])
    manifest.require_alone([*names, SHARED])
    for rows in manifest.missing(names, requests, 1):
        (name,), (text,) = names[rows], album.captions[rows]
        sample = make(album.images[rows.start], text, derive_seed(seed, name))
        manifest.put([name], requests[rows], [row_files(sample, name)])
    manifest.put([SHARED], [request_of({"rows": requests})], [shared_files(names, out)])
    say(f"A data set of {len(names)} rows is in {out}, shown in {out / SHEET}")
    say_companions(manifest, [*names, SHARED])
