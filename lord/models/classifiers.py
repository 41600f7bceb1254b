"""Two small classifiers of 32 × 32 pictures: a residual network and one that attends.

Both map images (N, 3, H, W) in [0, 1] to logits, by way of a feature vector that others may ask
for. Activations are smooth (SiLU) and nothing is shared between the images of a batch, so that
gradients of gradients exist and an image's logits are its own.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lord.seeding import derive_seed


class Classifier(nn.Module):
    """What both have in common: features, then one linear layer."""

    def __init__(self, width: int, classes: int):
        super().__init__()
        self.head = nn.Linear(width, classes)

    def features(self, images: Tensor) -> Tensor:
        """The latent representation (N, D) of images (N, 3, H, W) in [0, 1]."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.head(self.features(images))


class ResidualNetwork(Classifier):
    """Three levels of two residual blocks each (He et al., arXiv:1512.03385), each level twice as
    wide and half as large as the one before it; group instead of batch normalisation."""

    def __init__(self, classes: int = 10, width: int = 16):
        super().__init__(4 * width, classes)
        levels, before = [nn.Conv2d(3, width, 4, stride=2, padding=1)], width
        for level, stride in enumerate((1, 2, 2)):
            after = width * 2**level
            levels += [_Residual(before, after, stride), _Residual(after, after, 1)]
            before = after
        self.levels = nn.Sequential(*levels, nn.GroupNorm(4, before), nn.SiLU())

    def features(self, images: Tensor) -> Tensor:
        """The mean over the last level's places."""
        return self.levels(images * 2 - 1).mean(dim=(2, 3))


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(4, before),
            nn.SiLU(),
            nn.Conv2d(before, after, 3, stride, padding=1),
            nn.GroupNorm(4, after),
            nn.SiLU(),
            nn.Conv2d(after, after, 3, padding=1),
        )
        same = before == after and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(before, after, stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class AttentionNetwork(Classifier):
    """Transformer blocks on patches of 4 × 4 (Dosovitskiy et al., arXiv:2010.11929), which two
    convolutions cut out."""

    def __init__(self, classes: int = 10, width: int = 64, blocks: int = 3, side: int = 32):
        super().__init__(width, classes)
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        )
        self.places = nn.Parameter(0.02 * torch.randn(1, (side // 4) ** 2, width))
        self.blocks = nn.Sequential(*(_Attention(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)

    def features(self, images: Tensor) -> Tensor:
        """The mean over all patches."""
        patches = self.stem(images * 2 - 1).flatten(2).transpose(1, 2)
        return self.norm(self.blocks(patches + self.places)).mean(dim=1)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.each = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = self.mixed(self.first(x)).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        # Written out: the library's fused form has no second derivative.
        weights = (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)
        x = x + self.out((weights @ value).transpose(1, 2).flatten(2))
        return x + self.each(self.second(x))


CLASSIFIERS: dict[str, Callable[..., Classifier]] = {
    "residual": ResidualNetwork,
    "attention": AttentionNetwork,
}


def build_classifier(
    architecture: str, size: int = 32, seed: int = 0, classes: int = 10
) -> Classifier:
    """A classifier with random weights for images of a size, a multiple of 8.

    Raises:
        ValueError: an unknown architecture.
    """
    if architecture not in CLASSIFIERS:
        raise ValueError(f"unknown classifier {architecture!r}: choose {' or '.join(CLASSIFIERS)}")
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed("classifier", architecture, seed))
        options = {"side": size} if architecture == "attention" else {}
        return CLASSIFIERS[architecture](classes, **options)
