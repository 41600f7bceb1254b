"""Drawing with signed distances, batched in torch: every image of a batch is painted at once.

Coordinates run from -1 to 1, x to the right and y down. Parameters of N images have shape
(N, 1, 1), masks and textures (N, H, W), colours (N, 3) and images (N, 3, H, W) in [0, 1].
All random numbers are hashes of a per-image seed, so an image never depends on its batch.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def uniform(seeds: Sequence[int], name: str, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1), shape (N, *shape): the splitmix64 hash of (seed, name, index)."""
    salt = np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big"))
    count = int(np.prod(shape, dtype=np.int64))
    with np.errstate(over="ignore"):
        z = np.asarray(seeds, dtype=np.uint64)[:, None] * np.uint64(0xD1342543DE82EF95) ^ salt
        z = z + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    numbers = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)
    return torch.from_numpy(numbers).reshape(len(seeds), *shape)


def choice(seeds: Sequence[int], name: str, options: Sequence[object]) -> Tensor:
    """A uniform index into ``options`` per seed, int64 of shape (N,)."""
    return (uniform(seeds, name) * len(options)).long()


def grid(size: int) -> tuple[Tensor, Tensor]:
    """Pixel centres x and y, each of shape (1, size, size), in (-1, 1)."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x[None], y[None]


def column(values: Tensor) -> Tensor:
    """One number per image, shaped (N, 1, 1) to broadcast over pixels."""
    return values.reshape(-1, 1, 1).float()


def between(low: float, high: float, values: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) mapped to [low, high), shaped (N, 1, 1)."""
    return low + (high - low) * column(values)


def ellipse(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float) -> Tensor:
    """Approximate signed distance to an axis-aligned ellipse at the origin (negative inside)."""
    radius = torch.sqrt((x / rx) ** 2 + (y / ry) ** 2 + 1e-9)
    return (radius - 1) * torch.minimum(torch.as_tensor(rx), torch.as_tensor(ry))


def box(
    x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float, corner: float = 0.0
) -> Tensor:
    """Signed distance to a rounded box of half-sizes rx, ry at the origin (negative inside)."""
    dx, dy = x.abs() - rx + corner, y.abs() - ry + corner
    outside = torch.sqrt(dx.clamp(min=0) ** 2 + dy.clamp(min=0) ** 2 + 1e-9)
    return outside + torch.maximum(dx, dy).clamp(max=0) - corner


def inside(distance: Tensor, softness: Tensor | float) -> Tensor:
    """Coverage in [0, 1] of a signed distance: a smooth edge, ``softness`` wide on each side."""
    t = (0.5 - distance / (2 * softness)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def paint(image: Tensor, mask: Tensor, colour: Tensor) -> Tensor:
    """Lay a colour, (N, 3) or (N, 3, H, W), over the image where the mask (N, H, W) is 1."""
    if colour.ndim == 2:
        colour = colour[:, :, None, None]
    return torch.lerp(image, colour.expand_as(image), mask.unsqueeze(1).expand_as(image))


def palette(colours: Sequence[tuple[int, int, int]], index: Tensor) -> Tensor:
    """Colours of the given indices: 0–255 triples to (N, 3) in [0, 1]."""
    return torch.tensor(colours, dtype=torch.float32)[index] / 255


def fractal(
    seeds: Sequence[int],
    name: str,
    x: Tensor,
    y: Tensor,
    cells: int = 4,
    octaves: int = 3,
    gain: float = 0.5,
) -> Tensor:
    """Fractal value noise at (x, y), about zero mean and within [-1, 1], shape (N, H, W).

    Octave k interpolates a hashed lattice with ``cells``·2ᵏ cells over [-1, 1].
    """
    x, y = torch.broadcast_tensors(x, y)
    points = torch.stack([x, y], dim=-1).expand(len(seeds), -1, -1, -1)
    total, weight, norm = 0.0, 1.0, 0.0
    for octave in range(octaves):
        nodes = cells * 2**octave + 1
        lattice = uniform(seeds, f"{name}/{octave}", 1, nodes, nodes) * 2 - 1
        layer = F.grid_sample(
            lattice, points, mode="bicubic", padding_mode="reflection", align_corners=True
        )
        total = total + weight * layer[:, 0]
        norm += weight
        weight *= gain
    return total / norm


def eight_bit(images: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to multiples of 1/255, as a saved photograph would be."""
    return (images.clamp(0, 1) * 255).round() / 255
