"""The encoder's part of a gradient, cut out: what an attack owes to the denoiser alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn


@contextmanager
def encoder_cut(vae: AutoencoderKL) -> Iterator[None]:
    """Inside the block, gradients pass the encoder as if it were linear; its output stays.

    Backward, the encoder is the linear map from patches of pixels to its output that fits best on
    the pictures at hand (a backward pass differentiable approximation: Athalye et al.,
    arXiv:1802.00420). Such a map shows where in the picture a latent comes from, and has none of
    the directions in which the encoder is steep.
    """

    def straighten(encoder: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        linear = _best_linear(inputs[0], output.detach())
        return linear + (output - linear).detach()

    handle = vae.encoder.register_forward_hook(straighten)
    try:
        yield
    finally:
        handle.remove()


def _best_linear(pixels: Tensor, output: Tensor) -> Tensor:
    """The least squares fit of ``output`` (N, C, h, w) by the patch of pixels below each place."""
    factor = pixels.shape[2] // output.shape[2]
    patches = F.pad(F.unfold(pixels, factor, stride=factor), (0, 0, 0, 1), value=1.0)
    rows = patches.detach().double().transpose(1, 2).flatten(0, 1)
    wanted = output.double().flatten(2).transpose(1, 2).flatten(0, 1)
    # By a pseudo-inverse: patches of plain pictures do not span all directions.
    weights = torch.linalg.pinv(rows.T @ rows, hermitian=True, rtol=1e-6) @ (rows.T @ wanted)
    fitted = torch.einsum("npl,pc->ncl", patches, weights.to(patches))
    return fitted.view_as(output)
