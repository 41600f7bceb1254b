"""Random numbers that belong to an image, not to a batch.

Every stochastic step takes one integer seed per image. A result is then the same whether images
are processed alone, together, or in another order.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def derive_seed(*parts: object) -> int:
    """A stable 63-bit seed from any printable parts, e.g. ``derive_seed("ace", 7, "noise")``."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generators(seeds: Sequence[int]) -> "list[torch.Generator]":
    """One CPU generator per seed. CPU streams give the same numbers whatever device computes."""
    import torch

    return [torch.Generator().manual_seed(seed) for seed in seeds]


def noise(
    seeds: Sequence[int],
    shape: Sequence[int],
    device: "torch.device | str" = "cpu",
    dtype: "torch.dtype | None" = None,
) -> "Tensor":
    """Standard normal noise of shape ``(len(seeds), *shape)``, one stream per row."""
    import torch

    rows = [torch.randn(tuple(shape), generator=generator) for generator in generators(seeds)]
    return torch.stack(rows).to(device, dtype)


def timesteps(
    seeds: Sequence[int], low: int, high: int, device: "torch.device | str" = "cpu"
) -> "Tensor":
    """Integer timesteps in ``[low, high)``, shape ``(len(seeds),)``, one stream per row."""
    import torch

    rows = [torch.randint(low, high, (), generator=generator) for generator in generators(seeds)]
    return torch.stack(rows).to(device)
