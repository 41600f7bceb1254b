"""Images of any size as parts that are not larger than a model's images, and back."""

from itertools import product

import torch
from torch import Tensor


def corners(length: int, side: int) -> list[int]:
    """Where parts of length ``side`` begin that cover ``length``; the last ends where it ends."""
    return [*range(0, length - side, side), max(length - side, 0)]


def split(image: Tensor, side: int) -> Tensor:
    """The parts that cover an image (3, H, W), row by row: (T, 3, min(side, H), min(side, W)).

    Nothing is scaled and nothing added: where the image is no multiple of ``side``, the last row
    and column of parts overlap those before.
    """
    height, width = image.shape[1:]
    places = product(corners(height, side), corners(width, side))
    return torch.stack([image[:, top : top + side, left : left + side] for top, left in places])


def join(parts: Tensor, height: int, width: int, side: int) -> Tensor:
    """The image (3, height, width) of the parts that `split` gave; where they overlap, the last."""
    image = parts.new_empty(parts.shape[1], height, width)
    places = product(corners(height, side), corners(width, side))
    for part, (top, left) in zip(parts, places, strict=True):
        image[:, top : top + side, left : left + side] = part
    return image
