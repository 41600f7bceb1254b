"""A user's own images: a folder of files, or a Hugging Face data set.

Both give the same `ImageSet`. Images of any size and colour mode become RGB: turned as their EXIF
orientation says, transparency put on white and, unless they are to keep their size, the largest
centred square cut out and resized. Everything is read before anything else starts, so a bad file is
found at once.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lord.files import save_png, write_text

DEFAULT_CAPTION = "a photograph"
SMALLEST = 16
"""Fewest pixels of a side of an image that is kept in its own size."""


@dataclass(frozen=True)
class ImageSet:
    """Images, float32 of shape (N, 3, size, size) in [0, 1], with N captions and N paths.

    Images of different sizes are a sequence of N, each of shape (3, H, W). The path of an item of a
    data set is a name made from its split and row.
    """

    images: Tensor | Sequence[Tensor]
    captions: list[str]
    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)


def load_folder(folder: str | Path, size: int, default_caption: str = DEFAULT_CAPTION) -> ImageSet:
    """Read every image of a folder, in the order of their names.

    The caption of ``rose.jpg`` is the text of ``rose.txt`` beside it, else ``default_caption``.
    Hidden files and subfolders are left out.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has no images, or some files are not images, are broken, or are
            smaller than ``size``; one message names them all.
    """

    def read(path: Path) -> tuple[Tensor, str]:
        return read_image(path, (size, size)), _caption_of(path, default_caption)

    paths = list_images(folder)
    images, captions = zip(*_each(read, paths), strict=True)
    return ImageSet(torch.stack(images), list(captions), paths)


def _each(read: Callable[[Any], Any], sources: Iterable[Any]) -> list[Any]:
    """What is read of every source.

    Raises:
        ValueError: some could not be read; one message names them all.
    """
    found, problems = [], []
    for source in sources:
        try:
            found.append(read(source))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
    return found


@dataclass(frozen=True)
class ImageFiles(Sequence):
    """Images in their own sizes, each read when it is asked for: a folder may not fit in memory."""

    paths: list[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | slice) -> "Tensor | ImageFiles":
        if isinstance(index, slice):
            return ImageFiles(self.paths[index])
        return read_image(self.paths[index], None)


def load_originals(folder: str | Path, default_caption: str = DEFAULT_CAPTION) -> ImageSet:
    """Every image of a folder in its own size, with captions as in `load_folder`.

    Every file is read once, to find those that are broken, and not kept.

    Raises:
        FileNotFoundError, ValueError: as `load_folder`, with at least `SMALLEST` pixels a side.
    """

    def read(path: Path) -> str:
        height, width = read_image(path, None).shape[1:]
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"{path}: {width}×{height} pixels are too few, at least {SMALLEST} a side are "
                "needed. Remove it."
            )
        return _caption_of(path, default_caption)

    paths = list_images(folder)
    return ImageSet(ImageFiles(paths), _each(read, paths), paths)


def list_images(folder: str | Path) -> list[Path]:
    """The files of a folder that should be images: all but captions and hidden files, by name.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is nothing in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Give a folder of images.")
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    paths = sorted(path for path in files if path.suffix.lower() != ".txt")
    if not paths:
        raise ValueError(f"{folder}: no images in it. Put PNG, JPEG or other image files there.")
    return paths


def load_dataset(
    name_or_path: str | Path,
    size: int,
    image_column: str = "image",
    caption_column: str | None = None,
    split: str = "train",
    default_caption: str = DEFAULT_CAPTION,
) -> ImageSet:
    """Read an image data set of the `datasets` library.

    Args:
        name_or_path: a name on the Hugging Face hub, a folder written by ``save_to_disk``, or a
            folder that ``datasets.load_dataset`` understands (an image folder, parquet files).
        caption_column: the column with the captions; without one, all are ``default_caption``.
        split: the split to read, where the data set has several.

    Raises:
        FileNotFoundError: no such data set.
        ValueError: no such column or split, no rows, or bad images; one message names their rows.
    """
    import datasets  # Slow to import, and needed here only.

    path = Path(name_or_path)
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        table = datasets.load_from_disk(str(path))
    else:
        try:
            table = datasets.load_dataset(str(name_or_path))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{name_or_path}: no image data set by this name or path ({error})."
            ) from error
    if isinstance(table, datasets.DatasetDict):
        if split not in table:
            raise ValueError(f"{name_or_path}: no split '{split}'; it has {', '.join(table)}.")
        table = table[split]
    for column in (image_column, caption_column):
        if column is not None and column not in table.column_names:
            raise ValueError(
                f"{name_or_path}: no column '{column}'; it has {', '.join(table.column_names)}."
            )
    if not len(table):
        raise ValueError(f"{name_or_path}: the data set has no rows.")
    # Decoded here one by one, so that a broken image is reported with its row.
    column = table.cast_column(image_column, datasets.Image(decode=False))[image_column]

    def read(item: tuple[int, Any]) -> Tensor:
        decode, name = datasets.Image().decode_example, f"{name_or_path}, row {item[0]}"
        return _read(decode, item[1], (size, size), name)

    images = _each(read, enumerate(column))
    captions = [default_caption] * len(images)
    if caption_column is not None:
        captions = [str(caption) for caption in table[caption_column]]
    paths = [Path(f"{split}-{row:06d}.png") for row in range(len(images))]
    return ImageSet(torch.stack(images), captions, paths)


def save_images(
    images: Tensor,
    folder: str | Path,
    names: Sequence[str | Path],
    captions: Sequence[str] | None = None,
) -> list[Path]:
    """Write images, shape (N, 3, H, W) in [0, 1], as ``<name>.png`` with captions beside them.

    Of a name that is a path only the stem counts, so `ImageSet.paths` will do. Each file is written
    whole or not at all.

    Raises:
        ValueError: lengths that differ, or two names with the same stem; nothing is written.
    """
    stems = [Path(name).stem for name in names]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
    if repeated:
        raise ValueError(f"names: {', '.join(repeated)} would be written twice; rename the images.")
    if len(images) != len(stems) or (captions is not None and len(captions) != len(stems)):
        raise ValueError(f"names, captions: expected one per image, for {len(images)} images.")
    paths = [Path(folder) / f"{stem}.png" for stem in stems]
    for index, path in enumerate(paths):
        if captions is not None:
            write_text(path.with_suffix(".txt"), captions[index] + "\n")
        save_png(images[index], path)
    return paths


def read_image(path: str | Path, size: tuple[int, int] | None) -> Tensor:
    """One image file as float32, shape (3, height, width) in [0, 1].

    With ``size`` (height, width) the largest centred part of that shape is cut out and resized; an
    image that has this size already, or without ``size``, keeps its exact pixel values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no image, is broken, or is smaller than ``size``.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file. Give the path of an image.")
    return _read(Image.open, path, size, str(path))


def _read(decode: Callable, source: object, size: tuple[int, int] | None, name: str) -> Tensor:
    try:
        with decode(source) as image:
            image.load()
            # The orientation tag must be read before any conversion, which may drop it.
            rgb = _to_rgb(ImageOps.exif_transpose(image))
    # Decoders of the many formats raise whatever they like on bytes that make no sense.
    except Exception as error:
        raise ValueError(
            f"{name}: not a readable image ({error or type(error).__name__}). "
            "Remove it or save it anew as PNG or JPEG."
        ) from error
    height, width = size or (rgb.height, rgb.width)
    if rgb.height < height or rgb.width < width:
        raise ValueError(
            f"{name}: {rgb.width}×{rgb.height} pixels are too few, at least {width}×{height} are "
            "needed. Remove it, or work at a smaller size."
        )
    fitted = ImageOps.fit(rgb, (width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1).float() / 255


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if image.mode.startswith("I"):
        # Sixteen bits. Pillow's own conversion would clip them at 255.
        levels = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _caption_of(image: Path, default: str) -> str:
    path = image.with_suffix(".txt")
    if not path.is_file():
        return default
    try:
        return path.read_text(encoding="utf-8").strip() or default
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the caption is not UTF-8 text. Save it as UTF-8.") from error
