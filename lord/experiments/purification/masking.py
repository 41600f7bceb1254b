"""Whether a purifier only hides gradients, by the signs that hidden gradients give.

Athalye et al., arXiv:1802.00420: attacks with gradients must do better than those without, more of
everything must help them, and an unbounded budget must leave nothing.
"""

from collections.abc import Iterator
from itertools import product
from random import Random

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

    ``loss`` is the mean cross-entropy over fresh purifications; ``right`` the mean accuracy.
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

    @torch.no_grad()
    def look(name: str, attacked: torch.Tensor) -> None:
        losses, hits = [], []
        for number in range(settings.looks):
            own = victim.seeds(seeds, "look", number)
            for first in range(0, len(images), batch):
                rows = slice(first, first + batch)
                logits = victim.logits(attacked[rows], own[rows])
                losses.append(cross_entropy(logits, labels[rows]).double().sum())
                hits.append((logits.argmax(1) == labels[rows]).double().sum())
        count = len(images) * settings.looks
        metrics[f"{name}/loss"] = (sum(losses) / count).item()
        metrics[f"{name}/right"] = (sum(hits) / count).item()

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
    series = {"draws": [float(draws) for draws in settings.draws]}
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
    number, settings = Random(cell.name), cell.settings
    right = {"clean": 0.95, "noise": 0.93, "square": 0.7, "unbounded": 0.0}
    right |= {f"pgd x{draws}": 0.5 - 0.01 * draws for draws in settings.draws}
    metrics = {"images": 32.0}
    for name, value in right.items():
        metrics |= {f"{name}/right": value, f"{name}/loss": 3 - 3 * value + number.random() / 10}
    series = {"draws": [float(draws) for draws in settings.draws]}
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
