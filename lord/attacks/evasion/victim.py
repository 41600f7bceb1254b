"""What is attacked: a classifier, alone or behind a purifier that draws its own random numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lord.progress import track
from lord.seeding import derive_seed

Purify = Callable[[Tensor, Sequence[int]], Tensor]
"""From images (N, C, H, W) in [0, 1] and one seed for each, to purified images."""


@dataclass(frozen=True)
class Victim:
    """A classifier and what purifies pictures for it.

    Attributes:
        classifier: from images (N, C, H, W) in [0, 1] to logits.
        purify: None for a classifier alone.
        known: whether the purifier's random numbers are always the same for a picture and the
            attacker knows them, so that nothing is random.
    """

    classifier: nn.Module
    purify: Purify | None = None
    known: bool = False

    @property
    def random(self) -> bool:
        """Whether two looks at a picture may differ."""
        return self.purify is not None and not self.known

    def seeds(self, seeds: Sequence[int], *name: object) -> list[int]:
        """The seeds of one look at pictures that have a seed each."""
        return [derive_seed(seed, *(name if self.random else ("known",))) for seed in seeds]

    def logits(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Logits (N, classes) of purified images; differentiable through the purifier."""
        return self.classifier(images if self.purify is None else self.purify(images, seeds))

    def straight_through(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """The same logits, whose gradient takes the purifier for the identity.

        Backward pass differentiable approximation (Athalye et al., arXiv:1802.00420).
        """
        if self.purify is None:
            return self.classifier(images)
        with torch.no_grad():
            change = self.purify(images, seeds) - images
        return self.classifier(images + change)


@torch.no_grad()
def predictions(
    victim: Victim, images: Tensor, seeds: Sequence[int], trials: int, batch_size: int = 64
) -> Tensor:
    """The class that is predicted after each of ``trials`` purifications, shape (trials, N).

    A victim without randomness is asked once and answers the same every time.
    """
    rounds = []
    for trial in range(trials if victim.random else 1):
        own = victim.seeds(seeds, "trial", trial)
        answers = [
            victim.logits(images[k : k + batch_size], own[k : k + batch_size]).argmax(1)
            for k in track(range(0, len(images), batch_size), "classifying")
        ]
        rounds.append(torch.cat(answers) if answers else images.new_empty(0, dtype=torch.long))
    return torch.stack(rounds).expand(trials, -1)


@dataclass(frozen=True)
class Verdict:
    """How a victim stands to its pictures after several purifications, each bool of shape (N,).

    Attributes:
        worst: all purifications led to the right class; an attacker who may try again fails.
        majority: the right class was more frequent than any other.
        right: the share of purifications that led to it, float.
    """

    worst: Tensor
    majority: Tensor
    right: Tensor


def judge(votes: Tensor, labels: Tensor, classes: int) -> Verdict:
    """The verdict on predictions (trials, N) of pictures with labels (N,)."""
    counts = torch.nn.functional.one_hot(votes, classes).sum(dim=0)
    mine = counts.gather(1, labels[:, None])[:, 0]
    others = counts.scatter(1, labels[:, None], -1).amax(dim=1)
    return Verdict(mine == len(votes), mine > others, mine / len(votes))
