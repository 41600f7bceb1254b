"""Subjects: one person or one place, photographed often. The unit of the whole study.

Identities come in three splits that never overlap: ``train`` (the embedded model and the metric
networks see these), ``stage1`` (the defence learns from these) and ``evaluation`` (the subjects
that are attacked, fine-tuned and measured).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from lord.data import landscapes, portraits
from lord.data.canvas import choice, uniform
from lord.seeding import derive_seed

DOMAINS: dict[str, ModuleType] = {"portraits": portraits, "landscapes": landscapes}
SPLITS = ("train", "stage1", "evaluation")


@dataclass(frozen=True)
class Batch:
    """Rendered images (N, 3, H, W) in [0, 1], their captions, and what was drawn, each (N,)."""

    images: Tensor
    captions: list[str]
    attributes: dict[str, Tensor]


def domain_module(domain: str) -> ModuleType:
    """The renderer of a domain.

    Raises:
        ValueError: an unknown domain.
    """
    if domain not in DOMAINS:
        raise ValueError(f"unknown domain {domain!r}: choose one of {', '.join(DOMAINS)}")
    return DOMAINS[domain]


def sample_domain(domain: str, split: str, indices: Iterable[int], size: int = 64) -> Batch:
    """One photograph of each of many identities: number i shows identity i of the split."""
    indices = list(indices)
    identities = [_identity_seed(domain, split, index) for index in indices]
    visits = [derive_seed(domain, split, index, "single") for index in indices]
    return photograph(domain, identities, visits, size)


@dataclass(frozen=True)
class Subject:
    """One identity of a split, with as many photographs as wanted.

    Raises:
        ValueError: an unknown domain or split.
    """

    domain: str
    split: str
    index: int

    def __post_init__(self) -> None:
        domain_module(self.domain)
        _identity_seed(self.domain, self.split, self.index)

    @property
    def prompt(self) -> str:
        """The prompt that names the subject, DreamBooth style."""
        return domain_module(self.domain).SUBJECT_PROMPT

    def photographs(self, count: int, size: int = 64) -> Batch:
        """The pictures a fine-tune learns from."""
        return self._visits("photograph", count, size)

    def references(self, count: int, size: int = 64) -> Batch:
        """Other clean pictures of the same subject, never used for training."""
        return self._visits("reference", count, size)

    def _visits(self, purpose: str, count: int, size: int) -> Batch:
        identity = _identity_seed(self.domain, self.split, self.index)
        visits = [
            derive_seed(self.domain, self.split, self.index, purpose, k) for k in range(count)
        ]
        return photograph(self.domain, [identity] * count, visits, size)


def _identity_seed(domain: str, split: str, index: int) -> int:
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    return derive_seed(domain, split, index, "identity")


def photograph(
    domain: str,
    identities: list[int],
    visits: list[int],
    size: int,
    settled: Mapping[str, Tensor] | None = None,
) -> Batch:
    """What is drawn from two seeds for each picture, but for attributes that are settled.

    Args:
        identities, visits: seeds of who or what is shown, and of the circumstances.
        settled: indices of words by attribute, each of shape (N,).
    """
    module = domain_module(domain)
    attributes = _draw(module, identities, visits) | dict(settled or {})
    # Chunks bound the memory of the painter's intermediate layers.
    chunk = max(1, 64 * 64**2 // size**2)
    pieces = [
        module.render({name: value[k : k + chunk] for name, value in attributes.items()}, size)
        for k in range(0, len(identities), chunk)
    ]
    return Batch(torch.cat(pieces), _captions(module, attributes), attributes)


def _draw(module: ModuleType, identities: list[int], visits: list[int]) -> dict[str, Tensor]:
    """What is to be painted, each of shape (N,): indices of words, and traits in [0, 1).

    Words and traits of the identity come from one seed, those of the circumstances from the other;
    the seeds themselves are handed on for textures.
    """
    drawn = {"identity_seed": torch.tensor(identities), "nuisance_seed": torch.tensor(visits)}
    for name, words in module.ATTRIBUTES.items():
        drawn[name] = choice(identities if name in module.IDENTITY else visits, name, words)
    drawn |= {name: uniform(identities, name) for name in module.IDENTITY_TRAITS}
    return drawn | {name: uniform(visits, name) for name in module.NUISANCE_TRAITS}


def _captions(module: ModuleType, attributes: dict[str, Tensor]) -> list[str]:
    columns = [
        [words[i] for i in attributes[name].tolist()] for name, words in module.ATTRIBUTES.items()
    ]
    rows = zip(*columns, strict=True)
    return [module.caption(dict(zip(module.ATTRIBUTES, row, strict=True))) for row in rows]
