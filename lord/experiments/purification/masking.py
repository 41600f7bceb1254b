"""Whether a purifier only hides gradients, by the signs that hidden gradients give.

Athalye et al., arXiv:1802.00420: attacks with gradients must do better than those without, more of
everything must help them, and an unbounded budget must leave nothing.
"""

from collections.abc import Iterator
from itertools import product
from random import Random
from statistics import fmean

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lord.attacks.evasion.settings import Evasion, Threat
from lord.experiments.purification.protocol import Defence, components_of, defence_cell
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile


class Masking(Section):
    """What is tried on which defences."""

    defences: tuple[Defence, ...] = (
        Defence(classifier="residual", purifier="diffpure"),
        Defence(classifier="residual", purifier="robust"),
    )
    images: PositiveInt = 32
    threat: Threat = Threat()
    steps: PositiveInt = Field(40, description="of PGD, whose loss is seen in each")
    draws: tuple[PositiveInt, ...] = Field((1, 4, 16), description="purifications in a gradient")
    queries: PositiveInt = Field(500, description="of the attack without gradients")
    unbounded: PositiveFloat = Field(0.5, description="budget that must leave nothing")
    looks: PositiveInt = Field(8, description="purifications in which losses are measured")

    @model_validator(mode="after")
    def _of_pixels(self) -> "Masking":
        if self.threat.norm != "linf":
            raise ValueError(
                "threat: expected linf; noise of ±ε and the unbounded budget are of it"
            )
        return self


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each task and each defence."""
    protocol, own = profile["purification"], profile["purification_masking"]
    attacks = [Evasion(method=name, steps=1) for name in ("pgd", "square")]
    for task, defence in product(protocol.models, own.defences):
        protocol.check(defence)
        cell = defence_cell(
            "purification_masking", protocol, task, defence, own.threat, (), own.images
        )
        cell = Cell(
            cell.name, cell.coordinates, cell.settings, components_of(cell.settings, attacks)
        )
        yield cell.with_settings(own, "steps", "draws", "queries", "unbounded", "looks")


def measure(context: Context, cell: Cell) -> Outcome:
    """Losses and accuracies after each attack, on the same pictures, and the loss in every step.

    ``loss`` is the mean cross-entropy over fresh purifications; ``right`` the mean accuracy. Their
    series have one number for each picture.
    """
    import torch

    from lord.attacks.evasion.evade import evade
    from lord.attacks.evasion.gradient import pgd
    from lord.attacks.evasion.losses import cross_entropy
    from lord.attacks.pgd import frozen
    from lord.experiments.purification.chain.victims import tested, victim_of

    settings = cell.settings
    victim = victim_of(context, settings)
    images, labels, seeds = tested(context, settings)
    threat, batch = settings.threat, 16
    metrics: dict[str, float] = {"images": len(images)}
    series = {"draws": [float(draws) for draws in settings.draws]}

    @torch.no_grad()
    def look(name: str, attacked: torch.Tensor) -> None:
        losses, hits = torch.zeros(2, len(images), dtype=torch.double)
        for number in range(settings.looks):
            own = victim.seeds(seeds, "look", number)
            for first in range(0, len(images), batch):
                rows = slice(first, first + batch)
                logits = victim.logits(attacked[rows], own[rows])
                losses[rows] += cross_entropy(logits, labels[rows]).double().cpu()
                hits[rows] += (logits.argmax(1) == labels[rows]).cpu()
        for measured, sums in (("loss", losses), ("right", hits)):
            series[f"{name}/{measured}"] = (sums / settings.looks).tolist()
            metrics[f"{name}/{measured}"] = (sums / settings.looks).mean().item()

    def climb(draws: int, budget: Threat = threat) -> tuple[torch.Tensor, list[float]]:
        how = Evasion(method="pgd", steps=settings.steps, draws=draws, step_size=0.1)
        attacked, path = images.clone(), [0.0] * settings.steps
        with frozen(victim.classifier):
            for first in range(0, len(images), batch):
                rows = slice(first, first + batch)

                def note(step: int, found: object) -> None:
                    path[step] += found.loss.sum().item() / len(images)

                attacked[rows] = pgd(
                    victim, images[rows], labels[rows], budget, how, seeds[rows], note
                )
        return attacked, path

    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    look("clean", images)
    look("noise", (images + threat.eps * noise.sign()).clamp(0, 1))
    for draws in settings.draws:
        attacked, path = climb(draws)
        look(f"pgd x{draws}", attacked)
        series[f"loss x{draws}"] = path
    blind = Evasion(method="square", steps=settings.queries)
    look("square", evade(victim, images, labels, threat, blind, seeds, batch))
    free = threat.model_copy(update={"eps": settings.unbounded})
    look("unbounded", climb(settings.draws[-1], free)[0])
    return Outcome(metrics, series)


def example(cell: Cell) -> Outcome:
    """Made-up numbers: nothing is hidden."""
    number, settings, count = Random(cell.name), cell.settings, 32
    right = {"clean": 31, "noise": 30, "square": 22, "unbounded": 0}
    right |= {f"pgd x{draws}": 16 - place for place, draws in enumerate(settings.draws)}
    metrics, series = {"images": count}, {"draws": [float(draws) for draws in settings.draws]}
    for name, hits in right.items():
        series[f"{name}/right"] = [float(k < hits) for k in range(count)]
        series[f"{name}/loss"] = [3 - 3 * hits / count + number.random() / 10] * count
        for measured in ("right", "loss"):
            metrics[f"{name}/{measured}"] = fmean(series[f"{name}/{measured}"])
    climb = [k / settings.steps for k in range(settings.steps)]
    return Outcome(metrics, series | {f"loss x{draws}": climb for draws in settings.draws})


EXPERIMENT = Experiment(
    name="purification_masking",
    title="whether a purifier only hides gradients",
    section=Masking,
    cells=cells,
    measure=measure,
    example=example,
    needs=("classifiers",),
)
