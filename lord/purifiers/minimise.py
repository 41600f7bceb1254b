"""Adam on pixels, for purifiers that are the minimum of something."""

from collections.abc import Callable

import torch
from torch import Tensor


def minimise(
    objective: Callable[[Tensor], Tensor], images: Tensor, steps: int, learning_rate: float
) -> Tensor:
    """Adam from the images on; the objective must be a sum over them, so that they stay apart."""
    pixels = images.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        pixels.grad = torch.autograd.grad(objective(pixels), pixels)[0]
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
    return pixels.detach()
