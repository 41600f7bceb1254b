"""One attack after the other on one defence, each on the pictures that the others have left.

What an attack has made of a block of pictures is kept, so that a run that was interrupted goes on
there, and so that experiments share what they have in common.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lord.attacks.evasion.evade import Standing, attack_left, untouched
from lord.attacks.evasion.settings import Evasion
from lord.attacks.evasion.victim import Victim
from lord.experiments.purification.chain.victims import classes_of, tested, victim_of
from lord.experiments.purification.outcome import STANDINGS
from lord.experiments.purification.protocol import components_of
from lord.study.context import Context
from lord.study.experiment import Settings

BLOCK = 32


@dataclass(frozen=True)
class Step:
    """What is left after an attack; the first step is before any.

    Attributes:
        attack: its name, ``standard`` of the first.
        asked: how many pictures it was tried on.
        images: as it left them, shape (N, C, H, W).
        right: the mean share of right purifications of pictures that nobody has attacked; of the
            first step only.
    """

    attack: str
    asked: int
    images: Tensor
    standing: Standing
    right: float | None = None


def run_gauntlet(context: Context, settings: Settings) -> list[Step]:
    """All attacks of a cell in their order, on all its pictures."""
    victim = victim_of(context, settings)
    images, labels, seeds = tested(context, settings)
    blocks = [slice(first, first + BLOCK) for first in range(0, len(images), BLOCK)]
    found = [
        _block(context, settings, victim, images[rows], labels[rows], seeds[rows], number)
        for number, rows in enumerate(blocks)
    ]
    names = ["standard", *(attack.name for attack in settings.attacks)]
    steps = []
    for place, name in enumerate(names):
        parts = [block[place] for block in found]
        left = [block[place - 1]["majority"] for block in found] if place else [labels]
        standing = Standing(*(torch.cat([p[n] for p in parts]) for n in STANDINGS))
        steps.append(
            Step(
                name,
                int(sum(rows.sum() for rows in left)) if place else len(labels),
                torch.cat([p["images"] for p in parts]),
                standing,
                torch.cat([p["right"] for p in parts]).mean().item() if not place else None,
            )
        )
    return steps


def _block(
    context: Context,
    settings: Settings,
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    number: int,
) -> list[dict[str, Tensor]]:
    """The same on one block of pictures, each attack made once."""
    names = ("model", "domain", "trials", "weights", "classifier", "purifier", "auxiliary", "known")
    same = {name: settings.asked[name] for name in names if name in settings.asked}
    same |= {"block": number, "count": len(images)}
    classes = classes_of(settings)

    def clean() -> dict[str, Tensor]:
        standing, right = untouched(victim, images, labels, seeds, settings.trials, classes)
        return _plain(images, standing) | {"right": right}

    steps = [context.once("untouched", same, components_of(settings, ()), clean)]
    for place, attack in enumerate(settings.attacks, 1):
        sofar = settings.attacks[:place]
        asked = same | {"threat": settings.asked["threat"], "attacks": _asked(sofar)}

        def make(attack: Evasion = attack) -> dict[str, Tensor]:
            before = Standing(*(steps[-1][name].to(labels.device) for name in STANDINGS))
            attacked, after = attack_left(
                victim,
                images,
                labels,
                before,
                settings.threat,
                attack,
                seeds,
                settings.trials,
                classes,
            )
            return _plain(attacked, after)

        steps.append(context.once("evasion", asked, components_of(settings, sofar), make))
    return steps


def _plain(images: Tensor, standing: Standing) -> dict[str, Tensor]:
    return {"images": images, "worst": standing.worst, "majority": standing.majority}


def _asked(attacks: Sequence[Evasion]) -> list[dict[str, object]]:
    return [attack.model_dump(mode="json") for attack in attacks]
