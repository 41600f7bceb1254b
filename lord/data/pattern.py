"""The built-in target of the targeted attacks."""

import torch
from torch import Tensor


def target_pattern(height: int, width: int | None = None) -> Tensor:
    """Tiled black and white diamonds, shape (3, height, width).

    Four tiles along the shorter side. Neighbouring tiles are inverted, so the pattern has high
    contrast at several scales and no mean of its own.
    """
    width = width or height
    tile = min(height, width) / 4
    y = (torch.arange(height) + 0.5) / tile
    x = (torch.arange(width) + 0.5) / tile
    from_centre = (y.frac() - 0.5).abs()[:, None] + (x.frac() - 0.5).abs()[None, :]
    bands = (from_centre * 4).long() % 2
    inverted = (y.long()[:, None] + x.long()[None, :]) % 2
    return (bands ^ inverted).float().expand(3, height, width).contiguous()
