"""A task for classifiers: ten kinds of portrait and ten of landscape, told apart by fine detail.

A picture's label comes first and settles a few of its attributes; all others are drawn as those of
any photograph of `lord.data.subjects`. So the unconditional model, which has learned photographs of
all attributes, knows every class, and nobody has told it of the classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lord.data.subjects import domain_module, photograph
from lord.seeding import derive_seed

SPLITS = ("train", "validation", "test")

_FACES = [(e, "no beard", "no glasses") for e in ("smiling", "serious", "surprised")]
_FACES += [(e, "beard", "no glasses") for e in ("smiling", "serious", "surprised")]
_FACES += [(e, "no beard", "glasses") for e in ("smiling", "serious", "surprised")]
_FACES += [("serious", "beard", "glasses")]

_PLACES = [(t, b) for b in ("no building", "house", "tower") for t in ("no trees", "pine trees")]
_PLACES += [("round trees", "no building"), ("round trees", "tower")]
_PLACES += [("palm trees", "no building"), ("palm trees", "house")]

CLASSES: dict[str, list[dict[str, str]]] = {
    "portraits": [dict(zip(("expression", "beard", "glasses"), f, strict=True)) for f in _FACES],
    "landscapes": [dict(zip(("trees", "building"), p, strict=True)) for p in _PLACES],
}
"""Of every domain, the attributes that make each of its classes."""


@dataclass(frozen=True)
class Labelled:
    """Images (N, 3, H, W) in [0, 1], and the class of each, int64 of shape (N,)."""

    images: Tensor
    labels: Tensor


def labelled(domain: str, split: str, indices: Iterable[int], size: int = 32) -> Labelled:
    """Pictures of a split by number; number i shows class i mod 10, each another person or place.

    Nobody and nothing in them occurs in another split, nor in what generators are trained on.

    Raises:
        ValueError: an unknown domain or split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    module, indices = domain_module(domain), list(indices)
    classes = CLASSES[domain]
    labels = torch.tensor([index % len(classes) for index in indices])
    settled = {
        name: torch.tensor([module.ATTRIBUTES[name].index(kind[name]) for kind in classes])[labels]
        for name in classes[0]
    }
    identities, visits = (
        [derive_seed("classes", domain, split, index, what) for index in indices]
        for what in ("identity", "single")
    )
    return Labelled(photograph(domain, identities, visits, size, settled).images, labels)


def class_name(domain: str, label: int) -> str:
    """The attributes of a class in words, without what it has not."""
    words = [word for word in CLASSES[domain][label].values() if not word.startswith("no ")]
    return ", ".join(words) or "neither trees nor building"
