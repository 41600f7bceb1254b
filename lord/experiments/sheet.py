"""The picture of a record: rows of small images, in one array of bytes."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def rows(*images: "Tensor") -> NDArray[np.uint8]:
    """One picture (H, W, 3) with a row for every batch of images (N, 3, h, w) in [0, 1].

    A row of fewer images ends in black.
    """
    lines = [np.concatenate(list(batch.detach().cpu().numpy()), axis=2) for batch in images]
    width = max(line.shape[2] for line in lines)
    lines = [np.pad(line, ((0, 0), (0, 0), (0, width - line.shape[2]))) for line in lines]
    picture = np.concatenate(lines, axis=1)
    return np.round(np.clip(picture, 0, 1) * 255).transpose(1, 2, 0).astype(np.uint8)


def made_up(name: str, lines: int, size: int) -> NDArray[np.uint8]:
    """A picture with rows of eight images, each of one colour, which is quick to write."""
    number = np.random.default_rng(len(name))
    colours = number.integers(0, 256, (lines, 8, 3), dtype=np.uint8)
    return colours.repeat(size, axis=0).repeat(size, axis=1)
