"""Images of any size as squares of one size, and back."""

import torch.nn.functional as F
from torch import Tensor


def split(image: Tensor, side: int) -> Tensor:
    """The squares that cover an image (3, H, W), row by row: shape (T, 3, side, side).

    Nothing is scaled: what the last row and column of squares lack continues the image's edges.
    """
    height, width = image.shape[1:]
    padding = (0, -width % side, 0, -height % side)
    padded = F.pad(image[None], padding, mode="replicate")[0]
    squares = padded.unfold(1, side, side).unfold(2, side, side)  # (3, rows, columns, side, side)
    return squares.permute(1, 2, 0, 3, 4).flatten(0, 1)


def join(squares: Tensor, height: int, width: int) -> Tensor:
    """The image (3, height, width) that `split` made the squares (T, 3, side, side) of."""
    side = squares.shape[-1]
    columns = -(-width // side)
    rows = squares.unflatten(0, (-1, columns))  # (rows, columns, 3, side, side)
    return rows.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)[:, :height, :width]
