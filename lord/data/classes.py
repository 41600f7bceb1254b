"""Tasks for classifiers: ten kinds of portrait and ten of landscape, told apart by fine detail; and
all 36 kinds of face that expression, beard, glasses and light make.

A picture's label comes first and settles a few of its attributes; all others are drawn as those of
any photograph of `lord.data.subjects`. So the unconditional model, which has learned photographs of
all attributes, knows every class, and nobody has told it of the classes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from lord.data import portraits
from lord.data.subjects import domain_module, photograph
from lord.names import CLASSIFIED
from lord.seeding import derive_seed

SPLITS = ("train", "validation", "test")

_FACES = [(e, "no beard", "no glasses") for e in ("smiling", "serious", "surprised")]
_FACES += [(e, "beard", "no glasses") for e in ("smiling", "serious", "surprised")]
_FACES += [(e, "no beard", "glasses") for e in ("smiling", "serious", "surprised")]
_FACES += [("serious", "beard", "glasses")]

_PLACES = [(t, b) for b in ("no building", "house", "tower") for t in ("no trees", "pine trees")]
_PLACES += [("round trees", "no building"), ("round trees", "tower")]
_PLACES += [("palm trees", "no building"), ("palm trees", "house")]

_DETAILS = ("expression", "beard", "glasses", "light")
_ALL = product(*(portraits.ATTRIBUTES[name] for name in _DETAILS))

CLASSES: dict[str, list[dict[str, str]]] = {
    "portraits": [dict(zip(("expression", "beard", "glasses"), f, strict=True)) for f in _FACES],
    "landscapes": [dict(zip(("trees", "building"), p, strict=True)) for p in _PLACES],
    "faces": [dict(zip(_DETAILS, words, strict=True)) for words in _ALL],
}
"""Of every task, called as its domain or otherwise, the attributes that make each class."""


@dataclass(frozen=True)
class Labelled:
    """Images (N, 3, H, W) in [0, 1], the class of each, int64 of shape (N,), of how many."""

    images: Tensor
    labels: Tensor
    classes: int = 10


def labelled(task: str, split: str, indices: Iterable[int], size: int = 32) -> Labelled:
    """Pictures of a split by number, in which classes take turns; each another person or place.

    Nobody and nothing in them occurs in another split, nor in what generators are trained on.

    Raises:
        ValueError: an unknown task or split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if task not in CLASSES:
        raise ValueError(f"unknown task {task!r}: choose one of {', '.join(CLASSES)}")
    domain, classes, indices = CLASSIFIED[task], CLASSES[task], list(indices)
    module = domain_module(domain)
    labels = torch.tensor([index % len(classes) for index in indices])
    settled = {
        name: torch.tensor([module.ATTRIBUTES[name].index(kind[name]) for kind in classes])[labels]
        for name in classes[0]
    }
    identities, visits = (
        [derive_seed("classes", task, split, index, what) for index in indices]
        for what in ("identity", "single")
    )
    images = photograph(domain, identities, visits, size, settled).images
    return Labelled(images, labels, len(classes))


def class_name(task: str, label: int) -> str:
    """The attributes of a class in words, without what it has not."""
    words = [word for word in CLASSES[task][label].values() if not word.startswith("no ")]
    return ", ".join(words) or "neither trees nor building"
