"""Data for editing, made of pictures of any sizes: one row for each, as files and as JSON.

The layout is a Hugging Face ``imagefolder``: a folder ``train`` with ``metadata.jsonl``, whose
columns end in ``file_name`` where they name a picture, so that `datasets.load_dataset` reads them
as images. The two first pipelines are those of arXiv:2306.08257.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from lord.data.canvas import choice, uniform
from lord.data.picture import png_bytes
from lord.editing.kernels import KERNELS, shrink
from lord.editing.masks import covered, mask_of
from lord.metrics.clip_iqa import ClipEncoder
from lord.metrics.edits import clip_cosines

SPLIT, METADATA, SHEET = "train", "metadata.jsonl", "contact_sheet.png"
SHEET_SIDE, SHEET_ROWS = 96, 16
"""Of the contact sheet: the side of a picture, and the most rows that it shows."""


@dataclass(frozen=True)
class Sample:
    """One row: its pictures by column, each (C, H, W) in [0, 1], and its other columns."""

    pictures: Mapping[str, Tensor]
    columns: Mapping[str, Any]


def inpainting_sample(image: Tensor, prompt: str, seed: int) -> Sample:
    """A picture, a mask, the picture corrupted by it, and a prompt.

    Every second mask is a segment of the picture, where it has one; the others are random shapes.
    """
    kind = "segment" if uniform([seed], "kind").item() < 0.5 else "shape"
    mask = mask_of(image, seed, kind)
    pictures = {
        "image": image,
        "mask": mask.expand(3, -1, -1),
        "corrupted": covered(image, mask),
    }
    return Sample(pictures, {"prompt": prompt, "painted": round(mask.mean().item(), 4)})


def low_resolution_sample(image: Tensor, prompt: str, seed: int, factor: int = 4) -> Sample:
    """A picture and the same one, ``factor`` times smaller by one of several kernels."""
    names = list(KERNELS)
    kernel = names[choice([seed], "kernel", names).item()]
    small = shrink(image[None], factor, kernel)[0]
    columns = {"prompt": prompt, "kernel": kernel, "factor": factor}
    return Sample({"image": image, "low_resolution": small}, columns)


def variation_sample(
    image: Tensor, encoder: ClipEncoder, candidates: Sequence[str], kept: int = 5
) -> Sample:
    """A picture and the prompts that suit it best, the best first, with their CLIP scores."""
    scores = clip_cosines(encoder, image[None], candidates)[0]
    best = scores.argsort(descending=True, stable=True)[:kept].tolist()
    ranked = [candidates[k] for k in best]
    columns = {"prompt": ranked[0], "prompts": ranked}
    return Sample(
        {"image": image}, columns | {"scores": [round(scores[k].item(), 4) for k in best]}
    )


def row_files(sample: Sample, name: str) -> dict[str, bytes]:
    """The files of a row by their paths in the data set: its pictures, and its columns as JSON.

    Raises:
        FloatingPointError: a picture has values that are not finite.
    """
    row: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    for column, picture in sample.pictures.items():
        path = f"{column}/{name}.png"
        files[f"{SPLIT}/{path}"] = png_bytes(picture, name=path)
        row["file_name" if column == "image" else f"{column}_file_name"] = path
    text = json.dumps(row | dict(sample.columns)) + "\n"
    return {row_path(name): text.encode(), **files}


def shared_files(names: Sequence[str], folder: Path) -> dict[str, bytes]:
    """The files about all rows, which are in ``folder``: the metadata and the contact sheet."""
    rows = [(folder / row_path(name)).read_text(encoding="utf-8") for name in names]
    sheet = io.BytesIO()
    Image.fromarray(_sheet([json.loads(row) for row in rows], folder)).save(sheet, format="PNG")
    return {f"{SPLIT}/{METADATA}": "".join(rows).encode(), SHEET: sheet.getvalue()}


def row_path(name: str) -> str:
    """Where the columns of a row lie until all are there; hidden, so that nobody reads them."""
    return f"{SPLIT}/.rows/{name}.json"


def _sheet(rows: Sequence[Mapping[str, Any]], folder: Path) -> np.ndarray:
    """The pictures of the first rows, a line each, shape (H, W, 3) of bytes."""
    lines = []
    for row in rows[:SHEET_ROWS]:
        paths = [value for key, value in row.items() if key.endswith("file_name")]
        lines.append(np.concatenate([_tile(folder / SPLIT / path) for path in paths], axis=1))
    return np.concatenate(lines)


def _tile(path: Path) -> np.ndarray:
    with Image.open(path, formats=("PNG",)) as image:
        image.thumbnail((SHEET_SIDE, SHEET_SIDE))
        tile = Image.new("RGB", (SHEET_SIDE, SHEET_SIDE), "white")
        tile.paste(image, ((SHEET_SIDE - image.width) // 2, (SHEET_SIDE - image.height) // 2))
    return np.asarray(tile)
