"""A user's own images: a folder of files, read into an `ImageSet`, and written again.

Pictures are as `lord.data.picture` reads them; unless they are to keep their size, the largest
centred square is cut out and resized. Everything is read before anything else starts, so a bad file
is found at once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lord.data.captions import DEFAULT_CAPTION, Captions, is_caption, read_captions
from lord.data.picture import SUFFIXES, Picture, png_bytes, read_picture
from lord.files import write_bytes

SMALLEST = 16
"""Fewest pixels of a side of an image that is kept in its own size."""

JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
"""What file managers leave in folders, in lower case; hidden files are passed over anyway."""


@dataclass(frozen=True)
class ImageSet:
    """Images, float32 of shape (N, 3, size, size) in [0, 1], with N captions and N paths.

    Images of different sizes are a sequence of N, each of shape (3, H, W). The path of an item of a
    data set is a name made from its split and row.

    Attributes:
        alphas: the opacity of each, (H, W) in [0, 1], or None; empty where all are opaque.
        notes: what happened to the images that may surprise, each a part of a sentence.
        caption_notes: the same of the captions.
    """

    images: Tensor | Sequence[Tensor]
    captions: list[str]
    paths: list[Path]
    alphas: Sequence[Tensor | None] = ()
    notes: list[str] = field(default_factory=list)
    caption_notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.paths)

    def alpha(self, row: int) -> Tensor | None:
        """The opacity of one image, None if it is opaque."""
        return self.alphas[row] if self.alphas else None


def load_folder(
    folder: str | Path,
    size: int,
    default_caption: str = DEFAULT_CAPTION,
    upscale: bool = False,
) -> ImageSet:
    """Read every image of a folder, in the order of their names.

    Captions are as `lord.data.captions` finds them, else ``default_caption``. Hidden files, what
    file managers leave behind, and subfolders are left out.

    Args:
        upscale: whether images that are smaller than ``size`` are enlarged.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: the folder has no images, or some files are not images, are broken, are smaller
            than ``size``, or share a name; one message names them all.
    """
    paths = list_images(folder)
    pictures, captions = _read_all(
        folder, paths, lambda path: _read_file(path, (size, size), upscale), default_caption
    )
    return ImageSet(
        torch.stack([picture.image for picture in pictures]),
        captions.texts,
        paths,
        [picture.alpha for picture in pictures],
        _notes(folder, [picture.remarks for picture in pictures]),
        _caption_notes(captions),
    )


def _read_file(path: Path, size: tuple[int, int] | None, upscale: bool = False) -> Picture:
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file, or a link to none"
        raise ValueError(f"{path}: {kind}, in spite of its name. Remove or rename it.")
    return read_picture(path, size, upscale)


def _read_all(
    folder: str | Path, paths: list[Path], read: Callable[[Path], Any], default_caption: str
) -> tuple[list[Any], Captions]:
    """What is read of every image of a folder, and the captions.

    Raises:
        ValueError: some could not be read; one message names them all.
    """
    found, problems, captions = [], [], None
    try:
        found = read_each(read, paths)
    except ValueError as error:
        problems.append(str(error))
    try:
        captions = read_captions(Path(folder), paths, default_caption)
    except ValueError as error:
        problems.append(str(error))
    if problems or captions is None:
        raise ValueError("\n".join(problems))
    return found, captions


def read_each(read: Callable[[Any], Any], sources: Iterable[Any]) -> list[Any]:
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


def remarked(remarks: Sequence[Sequence[str]]) -> list[str]:
    """How many images each remark is about."""
    counts = Counter(remark for each in remarks for remark in each)
    return [
        f"{count} of {len(remarks)} {'is' if count == 1 else 'are'} {remark}"
        for remark, count in sorted(counts.items())
    ]


def _notes(folder: str | Path, remarks: Sequence[Sequence[str]]) -> list[str]:
    """The remarks on the images of a folder, and which folders in it were left out."""
    notes = remarked(remarks)
    inside = [path for path in Path(folder).iterdir() if path.is_dir() and path.name[0] != "."]
    if inside:
        notes.append(f"{_listed(inside)} in it left out")
    return notes


def _caption_notes(captions: Captions) -> list[str]:
    notes, count = [], len(captions.texts)
    if captions.missing:
        have = "has" if captions.missing == 1 else "have"
        notes.append(f"{captions.missing} of {count} {have} no caption, using {captions.default!r}")
    if captions.orphans:
        notes.append(f"no image for the caption {_listed(captions.orphans)}")
    return notes


def _listed(names: Sequence[str | Path], most: int = 3) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(Path(name).name for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass(frozen=True)
class ImageFiles(Sequence):
    """Images, or their opacities, each read when it is asked for: a folder may not fit in memory.

    Attributes:
        part: which attribute of a `Picture` an item is.
    """

    paths: list[Path]
    part: str = "image"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | slice) -> "Tensor | ImageFiles | None":
        if isinstance(index, slice):
            return ImageFiles(self.paths[index], self.part)
        return getattr(read_picture(self.paths[index]), self.part)


def load_originals(folder: str | Path, default_caption: str = DEFAULT_CAPTION) -> ImageSet:
    """Every image of a folder in its own size, with captions as in `load_folder`.

    Every file is read once, to find those that are broken, and not kept.

    Raises:
        FileNotFoundError, ValueError: as `load_folder`, with at least `SMALLEST` pixels a side.
    """

    def read(path: Path) -> list[str]:
        picture = _read_file(path, None)
        height, width = picture.image.shape[1:]
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"{path}: {width}×{height} pixels are too few, at least {SMALLEST} a side are "
                "needed. Remove it."
            )
        return picture.remarks

    paths = list_images(folder)
    remarks, captions = _read_all(folder, paths, read, default_caption)
    return ImageSet(
        ImageFiles(paths),
        captions.texts,
        paths,
        ImageFiles(paths, "alpha"),
        _notes(folder, remarks),
        _caption_notes(captions),
    )


def list_images(folder: str | Path) -> list[Path]:
    """What should be images in a folder, by name: all but captions, hidden files and folders.

    What has the name of an image is among them even if it is none, so that it is missed.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no images in it, or two of the same name but for ending and case.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Give a folder of images.")
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    paths = [path for path in entries if _should_be_image(path)]
    if not paths:
        filled = [path.name for path in entries if path.is_dir() and _has_images(path)]
        hint = "Put PNG, JPEG or other image files there."
        if filled:
            hint = f"Its folder {_listed(filled)} has some; give one such folder."
        raise ValueError(f"{folder}: no images in it. {hint}")
    names = Counter(path.stem.lower() for path in paths)
    twice = [path.stem for path in paths if names[path.stem.lower()] > 1]
    if twice:
        raise ValueError(f"{folder / twice[0]}: several images have this name; rename them")
    return paths


def _should_be_image(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    return path.is_file() and not is_caption(path) and path.name.lower() not in JUNK


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


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
        FloatingPointError: an image has values that are not finite; nothing is written of it.
    """
    stems = [Path(name).stem for name in names]
    repeated = sorted({stem for stem in stems if stems.count(stem) > 1})
    if repeated:
        raise ValueError(f"names: {', '.join(repeated)} would be written twice; rename the images.")
    if len(images) != len(stems) or (captions is not None and len(captions) != len(stems)):
        raise ValueError(f"names, captions: expected one per image, for {len(images)} images.")
    for index, stem in enumerate(stems):
        caption = None if captions is None else captions[index]
        for name, content in files_of(stem, images[index], caption).items():
            write_bytes(Path(folder) / name, content)
    return [Path(folder) / f"{stem}.png" for stem in stems]


def files_of(
    stem: str, image: Tensor, caption: str | None = None, alpha: Tensor | None = None
) -> dict[str, bytes]:
    """The files of an image (3, H, W) and its caption, by name.

    Raises:
        FloatingPointError: the image has values that are not finite.
    """
    files = {f"{stem}.png": png_bytes(image, alpha, f"{stem}.png")}
    return files if caption is None else {f"{stem}.txt": f"{caption}\n".encode(), **files}
