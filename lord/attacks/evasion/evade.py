"""All evasion attacks by name, and several of them one after the other on what is left.

As in AutoAttack (Croce and Hein, arXiv:2003.01690) only the pictures that a cheaper attack has left
standing meet a dearer one. "Left standing" is judged by the majority of several purifications,
which is the easier one for the defence, so that it is exact for the worst of them as well: a
picture that loses the vote has been lost at least once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lord.attacks.evasion.fab import fab
from lord.attacks.evasion.gradient import auto_pgd, pgd, seeds_of
from lord.attacks.evasion.settings import Evasion, Threat
from lord.attacks.evasion.spatial import spatial
from lord.attacks.evasion.square import square
from lord.attacks.evasion.victim import Verdict, Victim, judge, predictions
from lord.attacks.pgd import frozen
from lord.progress import track

Attack = Callable[[Victim, Tensor, Tensor, Threat, Evasion, Sequence[int]], Tensor]

ATTACKS: dict[str, Attack] = {
    "pgd": pgd,
    "bpda": pgd,
    "transfer": pgd,
    "apgd_ce": auto_pgd,
    "apgd_dlr": auto_pgd,
    "apgd_t": auto_pgd,
    "fab_t": fab,
    "square": square,
    "spatial": spatial,
}


def evade(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    settings: Evasion,
    seeds: Sequence[int],
    batch_size: int = 16,
) -> Tensor:
    """Attacked images (N, C, H, W) within the threat, on the device of ``images``.

    They are not rounded to 8 bits, which would take from the attacker. An image's result depends
    on its own seed alone.

    Raises:
        ValueError: the attack cannot spend such a budget, or seeds that do not fit.
    """
    if not settings.fits(threat):
        raise ValueError(f"{settings.method}: knows no perturbations of {threat.norm}")
    if not len(images) == len(labels) == len(seeds):
        raise ValueError(f"labels, seeds: expected one for each of {len(images)} images")
    attacked = images.clone()
    with frozen(victim.classifier):
        for first in track(range(0, len(images), batch_size), settings.name):
            rows = slice(first, first + batch_size)
            attacked[rows] = ATTACKS[settings.method](
                victim, images[rows], labels[rows], threat, settings, seeds[rows]
            ).detach()
    return attacked


@dataclass(frozen=True)
class Standing:
    """Which pictures a victim still has right after some attacks, each bool of shape (N,).

    Attributes:
        worst: after every purification of every attack so far.
        majority: by every vote so far.
    """

    worst: Tensor
    majority: Tensor

    def after(self, rows: Tensor, verdict: Verdict) -> "Standing":
        """What is left once some rows (M,) have met another attack."""
        worst, majority = self.worst.clone(), self.majority.clone()
        worst[rows] &= verdict.worst
        majority[rows] &= verdict.majority
        return Standing(worst, majority)

    @property
    def left(self) -> Tensor:
        """The rows (M,) that the next attack has to look at."""
        return self.majority.nonzero().flatten()


def attack_left(
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    standing: Standing,
    threat: Threat,
    settings: Evasion,
    seeds: Sequence[int],
    trials: int,
    classes: int,
    batch_size: int = 16,
) -> tuple[Tensor, Standing]:
    """Attack what is left; return all images, attacked or as they were, and what is left then."""
    rows = standing.left
    attacked = images.clone()
    if not len(rows):
        return attacked, standing
    own = seeds_of(seeds, rows)
    attacked[rows] = evade(victim, images[rows], labels[rows], threat, settings, own, batch_size)
    votes = predictions(victim, attacked[rows], own, trials)
    return attacked, standing.after(rows, judge(votes, labels[rows], classes))


def untouched(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Sequence[int], trials: int, classes: int
) -> tuple[Standing, Tensor]:
    """What a victim has right without any attack; and the share of right purifications, (N,)."""
    verdict = judge(predictions(victim, images, seeds, trials), labels, classes)
    return Standing(verdict.worst, verdict.majority), verdict.right
