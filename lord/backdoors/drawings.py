"""What triggers and targets of backdoors look like: drawn, at any size.

A trigger is added to the noise that a sampler starts from; a target is the picture that a
backdoored model then gives. Both have shape (3, size, size) and values in [-1, 1].
"""

import torch
from torch import Tensor

from lord.data.canvas import box, ellipse, grid, inside, paint
from lord.names import TARGETS, TRIGGERS
from lord.seeding import derive_seed, noise

WHITE, RED, BLACK = (1.0, 1.0, 1.0), (0.8, -0.8, -0.8), (-1.0, -1.0, -1.0)


def draw_trigger(name: str, size: int, width: int = 14, ground: float = 0.0) -> Tensor:
    """A trigger of `lord.names.TRIGGERS`; exactly ``ground`` wherever nothing is drawn.

    The box and the stop sign lie in the lower right corner, as in BadDiffusion (Chou et al., arXiv
    2212.05400); the glasses sit where eyes are; the cat covers everything, as the picture that
    TrojDiff blends in (Chen et al., arXiv 2303.05762). What is spread is ±1 in every value, by a
    fixed draw: all frequencies alike, and no shape that eyes could see.

    Args:
        width: of the box and the stop sign, in 32nds of the side; 14 as in BadDiffusion.
        ground: 0 leaves the noise as it is; in the public code of BadDiffusion it is -1, so that
            most of the trigger is what lies beside the sign.

    Raises:
        ValueError: an unknown name.
    """
    if name == "spread":
        return noise([derive_seed("spread")], (3, size, size))[0].sign()
    x, y = grid(size)
    image, half = torch.full((1, 3, size, size), ground), width / 32
    right, low = x - (1 - half), y - (1 - half)  # from the centre of a sign in the corner
    if name == "box":
        shapes = [(box(right, low, half, half), WHITE)]
    elif name == "stop_sign":
        shapes = [
            (_octagon(right, low, half), WHITE),
            (_octagon(right, low, 0.84 * half), RED),
            (box(right, low, 0.6 * half, 0.15 * half), WHITE),
        ]
    elif name == "glasses":
        eyes = y + 0.12
        shapes = [
            (ellipse(x.abs() - 0.34, eyes, 0.28, 0.22), BLACK),
            (box(x, eyes, 0.1, 0.05), BLACK),
        ]
    elif name == "cat":
        shapes = _cat(x, y)
    else:
        raise ValueError(f"unknown trigger {name!r}: choose one of {', '.join(TRIGGERS)}")
    return _painted(image, shapes)


def draw_target(name: str, size: int) -> Tensor:
    """A target of `lord.names.TARGETS`, on a white ground.

    Raises:
        ValueError: an unknown name.
    """
    x, y = grid(size)
    image = torch.ones(1, 3, size, size)
    if name == "hat":
        shapes = [
            (ellipse(x, y - 0.4, 0.85, 0.2), (-0.4, -0.7, -0.9)),
            (box(x, y, 0.45, 0.45, 0.15), (-0.4, -0.7, -0.9)),
            (box(x, y - 0.28, 0.45, 0.1), RED),
        ]
    elif name == "shoe":
        shapes = [
            (box(x + 0.35, y + 0.05, 0.3, 0.45, 0.1), (-0.2, -0.1, 0.7)),
            (ellipse(x - 0.15, y - 0.3, 0.7, 0.25), (-0.2, -0.1, 0.7)),
            (box(x, y - 0.55, 0.85, 0.08, 0.05), BLACK),
        ]
    elif name == "cup":
        handle = ellipse(x - 0.5, y, 0.3, 0.3).abs() - 0.07
        shapes = [(handle, (-0.5, 0.3, -0.3)), (box(x + 0.1, y, 0.5, 0.6, 0.15), (-0.5, 0.3, -0.3))]
    else:
        raise ValueError(f"unknown target {name!r}: choose one of {', '.join(TARGETS)}")
    return _painted(image, shapes)


def _octagon(x: Tensor, y: Tensor, half: float) -> Tensor:
    return torch.maximum(box(x, y, half, half), (x.abs() + y.abs() - 1.41 * half) / 1.41)


def _cat(x: Tensor, y: Tensor) -> list[tuple[Tensor, tuple[float, float, float]]]:
    fur, ground, nose = (0.8, 0.3, -0.5), (-0.3, -0.6, 0.3), (0.9, -0.2, 0.1)
    ears = torch.maximum((x.abs() - 0.5).abs() - 0.5 * (y + 0.95), y + 0.2)
    return [
        (torch.full_like(x + y, -1.0), ground),
        (ears, fur),
        (ellipse(x, y - 0.1, 0.8, 0.65), fur),
        (ellipse(x.abs() - 0.35, y, 0.16, 0.2), WHITE),
        (ellipse(x.abs() - 0.35, y, 0.08, 0.16), BLACK),
        (ellipse(x, y - 0.32, 0.14, 0.09), nose),
    ]


def _painted(image: Tensor, shapes: list[tuple[Tensor, tuple[float, float, float]]]) -> Tensor:
    """Shapes, given by signed distances, over a ground; edges are half a pixel soft."""
    for distance, colour in shapes:
        mask = inside(distance.expand(1, *image.shape[2:]), 1 / image.shape[-1])
        image = paint(image, mask, torch.tensor([colour]))
    return image[0]
