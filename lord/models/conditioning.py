"""What a denoiser is told beside the noisy latents and the time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """What the denoiser is told of N pictures: one value for every topology.

    Attributes:
        text: embeddings of the prompts, shape (N, L, D).
        pooled: of SDXL, one embedding for the whole prompt, shape (N, P). SDXL is told the size of
            the picture, too, which follows from that of the latents.
        scale: pixels by side of a latent.
    """

    text: Tensor
    pooled: Tensor | None = None
    scale: int = 8

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, rows: slice | list[int] | Tensor) -> "Conditioning":
        """Some of the rows, in the order asked for."""
        return self._each(lambda tensor: tensor[rows])

    def repeat(self, times: int) -> "Conditioning":
        """All rows, so many times over."""
        return self._each(lambda tensor: tensor.repeat(times, *[1] * (tensor.ndim - 1)))

    def expand(self, count: int) -> "Conditioning":
        """One row, seen as ``count`` of them."""
        return self._each(lambda tensor: tensor.expand(count, *tensor.shape[1:]))

    def to(self, *where: Any) -> "Conditioning":
        """On another device, or in another precision."""
        return self._each(lambda tensor: tensor.to(*where))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the embeddings, in which the denoiser computes."""
        return self.text.dtype

    @property
    def tensors(self) -> list[Tensor]:
        """All embeddings."""
        return [self.text] if self.pooled is None else [self.text, self.pooled]

    def options(self, latents: Tensor) -> dict[str, Any]:
        """What SDXL's U-Net takes besides: the pooled embedding, and size and crop in pixels.

        The picture has the size of its latents and is not cropped, as in diffusers' pipeline.
        """
        if self.pooled is None:
            return {}
        height, width = (self.scale * side for side in latents.shape[2:])
        sizes = torch.tensor([height, width, 0, 0, height, width]).to(self.pooled)
        sizes = sizes.expand(len(latents), -1)
        return {"added_cond_kwargs": {"text_embeds": self.pooled, "time_ids": sizes}}

    def _each(self, change: Any) -> "Conditioning":
        pooled = None if self.pooled is None else change(self.pooled)
        return replace(self, text=change(self.text), pooled=pooled)


def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    """The rows of several, one after the other."""
    pooled = None if parts[0].pooled is None else torch.cat([part.pooled for part in parts])
    return replace(parts[0], text=torch.cat([part.text for part in parts]), pooled=pooled)


def prompt_options(given: Conditioning, against: Conditioning) -> dict[str, Tensor]:
    """Prompts, and what guidance leads away from, as the stock pipelines take them."""
    options = {"prompt_embeds": given.text, "negative_prompt_embeds": against.text}
    if given.pooled is not None:
        options["pooled_prompt_embeds"] = given.pooled
        options["negative_pooled_prompt_embeds"] = against.pooled
    return options
