"""A user's own images: a data set of the `datasets` library, read as a folder of files is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lord.data.captions import DEFAULT_CAPTION
from lord.data.folder import ImageSet, read_each, remarked
from lord.data.picture import Picture, decode_picture

if TYPE_CHECKING:
    from datasets import Dataset


def load_dataset(
    name_or_path: str | Path,
    size: int,
    image_column: str = "image",
    caption_column: str | None = None,
    split: str = "train",
    default_caption: str = DEFAULT_CAPTION,
    upscale: bool = False,
) -> ImageSet:
    """Read an image data set of the `datasets` library.

    Args:
        name_or_path: a name on the Hugging Face hub, a folder written by ``save_to_disk``, or a
            folder that ``datasets.load_dataset`` understands (an image folder, parquet files).
        caption_column: the column with the captions; without one, all are ``default_caption``.
        split: the split to read, where the data set has several.
        upscale: whether images that are smaller than ``size`` are enlarged.

    Raises:
        FileNotFoundError: no such data set.
        ValueError: no such column or split, no rows, or bad images; one message names their rows.
    """
    import datasets

    columns = (image_column,) if caption_column is None else (image_column, caption_column)
    table = open_table(name_or_path, columns, split)
    # Decoded here one by one, so that a broken image is reported with its row.
    column = table.cast_column(image_column, datasets.Image(decode=False))[image_column]

    def read(item: tuple[int, Any]) -> Picture:
        row, stored = item
        return read_row(stored, f"{name_or_path}, row {row}", size, upscale)

    pictures = read_each(read, enumerate(column))
    captions = [default_caption] * len(pictures)
    if caption_column is not None:
        captions = [str(caption) for caption in table[caption_column]]
    paths = [Path(f"{split}-{row:06d}.png") for row in range(len(pictures))]
    return ImageSet(
        torch.stack([picture.image for picture in pictures]),
        captions,
        paths,
        [picture.alpha for picture in pictures],
        remarked([picture.remarks for picture in pictures]),
    )


def open_table(
    name_or_path: str | Path, columns: Sequence[str], split: str, revision: str | None = None
) -> "Dataset":
    """A split of an image data set, in which some columns are to be.

    Args:
        revision: a commit, branch or tag of a data set on the hub.

    Raises:
        FileNotFoundError: no such data set.
        ValueError: no such split or column, or no rows.
    """
    import datasets  # Slow to import, and needed here only.

    path = Path(name_or_path)
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        table = datasets.load_from_disk(str(path))
    else:
        try:
            table = datasets.load_dataset(str(name_or_path), revision=revision)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{name_or_path}: no image data set by this name or path ({error})."
            ) from error
    if isinstance(table, datasets.DatasetDict):
        if split not in table:
            raise ValueError(f"{name_or_path}: no split '{split}'; it has {', '.join(table)}.")
        table = table[split]
    for column in columns:
        if column not in table.column_names:
            raise ValueError(
                f"{name_or_path}: no column '{column}'; it has {', '.join(table.column_names)}."
            )
    if not len(table):
        raise ValueError(f"{name_or_path}: the data set has no rows.")
    return table


def read_row(stored: dict[str, Any] | None, name: str, size: int, upscale: bool) -> Picture:
    """An image of a data set, which keeps its bytes or a path.

    Args:
        name: what it is called in errors.

    Raises:
        ValueError: it is no picture, is broken, or is smaller than ``size``.
    """
    source = stored and stored["bytes"]
    if stored and source is None:
        source = Path(stored["path"])
    return decode_picture(source, name, (size, size), upscale)
