"""What an inpainting may paint: random shapes, and segments of the picture itself.

Masks have the shape (1, H, W), 1 where the picture is painted anew and 0 elsewhere.
"""

import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from scipy.cluster.vq import kmeans2
from scipy.ndimage import gaussian_filter, label, zoom
from torch import Tensor

from lord.data.canvas import between, box, choice, column, ellipse, inside, uniform

SHAPES = ("ellipse", "box", "star")
SMALLEST_SEGMENT = 0.05
"""The share of the picture from which on a segment is large enough."""

LARGEST_SEGMENT = 0.6
"""The share up to which something is left around it."""

GREY = 0.5
"""What stands in a picture where a mask covers it: zero in [-1, 1]."""

COLOURS, WORKING_SIDE = 5, 96
"""Of the segmentation: the number of colours, and the side to which pictures are shrunk for it."""


def shape_mask(seed: int, height: int, width: int) -> Tensor:
    """A random shape under random rotation, scaling, cropping and blurring.

    Its edges, once blurred, are cut at one half, so that blurring rounds corners.
    """
    seeds, unit = [seed], min(height, width)
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5 - height / 2) / unit * 2,
        (torch.arange(width) + 0.5 - width / 2) / unit * 2,
        indexing="ij",
    )
    x = x[None] - between(-0.5, 0.5, uniform(seeds, "x")) * width / unit
    y = y[None] - between(-0.5, 0.5, uniform(seeds, "y")) * height / unit
    angle = between(0, np.pi, uniform(seeds, "angle"))
    x, y = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    wide, high = (between(0.3, 0.8, uniform(seeds, name)) for name in ("wide", "high"))
    kind = SHAPES[choice(seeds, "shape", SHAPES).item()]
    distance = box(x, y, wide, high) if kind == "box" else ellipse(x, y, wide, high)
    if kind == "star":
        points = 3 + (uniform(seeds, "points") * 4).floor()
        distance = distance + 0.2 * torch.cos(column(points) * torch.atan2(y, x))
    mask = inside(distance, 2 / unit)
    # What lies beyond a straight cut on one side is cropped.
    mask = mask * (x > -wide + between(0.0, 0.7, uniform(seeds, "crop")) * wide)
    sigma = between(0.01, 0.06, uniform(seeds, "blur")).item() * unit
    size = 2 * round(2 * sigma) + 1
    if size > 1 and size // 2 < unit:
        mask = gaussian_blur2d(mask[None].float(), (size, size), (sigma, sigma))[0]
    mask = (mask >= 0.5).float()
    if mask.any() and not mask.all():
        return mask
    middle = torch.zeros(1, height, width)  # a shape that blurring or cropping has eaten
    middle[:, height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None] = 1
    return middle


def segments(image: Tensor) -> list[Tensor]:
    """The segments of a picture (3, H, W) that are larger than 5 % of it, the largest first.

    Colours are put in `COLOURS` groups (k-means on the smoothed and shrunken picture); what hangs
    together in one colour is a segment.
    """
    height, width = image.shape[1:]
    scale = min(1.0, WORKING_SIDE / max(height, width))
    small = zoom(image.double().numpy(), (1, scale, scale), order=1) if scale < 1 else image.numpy()
    smooth = gaussian_filter(small, (0, 1, 1))
    pixels = smooth.reshape(3, -1).T.astype(np.float64)
    count = min(COLOURS, len(np.unique((pixels * 32).round(), axis=0)))
    if count < 2:
        return []
    _, colours = kmeans2(pixels, count, minit="++", rng=0)
    groups = colours.reshape(smooth.shape[1:])
    found = []
    for colour in range(count):
        parts, pieces = label(groups == colour)
        for part in range(1, pieces + 1):
            mask = torch.from_numpy(parts == part).float()[None, None]
            mask = torch.nn.functional.interpolate(mask, (height, width))[0]
            if SMALLEST_SEGMENT < mask.mean() < LARGEST_SEGMENT:
                found.append(mask)
    return sorted(found, key=lambda mask: -mask.mean().item())


def covered(images: Tensor, masks: Tensor) -> Tensor:
    """Images in [0, 1], grey where the masks are 1."""
    return images + masks * (GREY - images)


def mask_of(image: Tensor, seed: int, kind: str) -> Tensor:
    """A mask of one kind, ``"shape"`` or ``"segment"``.

    A picture without a segment that is large enough gets a shape.
    """
    height, width = image.shape[1:]
    if kind == "segment" and (found := segments(image)):
        return found[choice([seed], "segment", found).item()]
    return shape_mask(seed, height, width)
