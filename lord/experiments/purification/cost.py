"""What an attack through a purifier costs beside the passes that it must make."""

from collections.abc import Iterator

from pydantic import Field, PositiveInt

from lord.attacks.evasion.settings import Evasion, Threat
from lord.experiments.purification.protocol import Defence, defence_cell
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile


class PurificationTiming(Section):
    """What is timed, and how often."""

    classifier: str = "residual"
    purifiers: tuple[str, ...] = Field(("diffpure", "robust"), description="of the protocol")
    turns: PositiveInt = 5
    batch: PositiveInt = 8


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each purifier, of the first task."""
    protocol, own = profile["purification"], profile["purification_cost"]
    task = next(iter(protocol.models))
    for purifier in own.purifiers:
        defence = Defence(classifier=own.classifier, purifier=purifier)
        protocol.check(defence)
        attacks = (Evasion(method="pgd", steps=1),)
        cell = defence_cell(
            "purification_cost", protocol, task, defence, Threat(), attacks, images=own.batch
        )
        yield cell.with_settings(own, "turns")


def measure(context: Context, cell: Cell) -> Outcome:
    """Seconds and memory of one gradient, and of purifying, beside the bare passes.

    A gradient is a pass forward and backward of the denoiser for each step, and one more forward
    where activations are computed again; one of the classifier; and, where a classifier guides, one
    through its gradient in each step. The sampler alone is as many passes forward of the denoiser
    as purifying makes.
    """
    import torch

    from lord.attacks.evasion.gradient import expected
    from lord.attacks.evasion.losses import cross_entropy
    from lord.attacks.pgd import frozen
    from lord.experiments.purification.chain.victims import (
        classifier_of,
        denoiser_of,
        tested,
        victim_of,
    )
    from lord.experiments.timing import fastest_turns
    from lord.purifiers.pixel_diffusion import KEPT_PASSES
    from lord.record import measure as measured

    settings = cell.settings
    victim, unet = victim_of(context, settings), denoiser_of(context, settings).unet
    images, labels, seeds = tested(context, settings)
    passes, auxiliary = settings.purifier.passes, None
    if settings.auxiliary is not None:
        auxiliary = classifier_of(context, settings, settings.auxiliary)

    def forward() -> None:
        with torch.no_grad():
            for _ in range(passes):
                unet(images, 10)

    def both(network: torch.nn.Module, *time: int) -> None:
        x = images.clone().requires_grad_(True)
        out = network(x, *time)
        torch.autograd.grad((out.sample if time else out).sum(), x)

    def through_gradient(network: torch.nn.Module) -> None:
        x = images.clone().requires_grad_(True)
        first = torch.autograd.grad(network(x).logsumexp(1).sum(), x, create_graph=True)[0]
        torch.autograd.grad(first.square().sum(), x)

    def bare() -> None:
        for _ in range(passes):
            both(unet, 10)
            if settings.auxiliary is not None:
                through_gradient(auxiliary)
        both(victim.classifier)
        if passes > KEPT_PASSES:
            forward()

    def gradient() -> None:
        expected(victim.logits, cross_entropy, images, labels, [victim.seeds(seeds, "timing")])

    def purify() -> None:
        with torch.no_grad():
            victim.purify(images, victim.seeds(seeds, "timing"))

    steps = {"gradient": gradient, "passes": bare, "purify": purify, "sampler": forward}
    with frozen(victim.classifier, unet):
        seconds = fastest_turns(steps, images.device, settings.turns)
        metrics = {f"{name}/seconds": value for name, value in seconds.items()}
        for name in ("gradient", "passes"):
            with measured() as measurement:
                steps[name]()
            metrics[f"{name}/peak_memory_mb"] = measurement.peak_memory_mb
    metrics["gradient/times_its_passes"] = seconds["gradient"] / seconds["passes"]
    metrics["purify/times_the_sampler"] = seconds["purify"] / seconds["sampler"]
    metrics["purify/pictures_per_second"] = len(images) / seconds["purify"]
    metrics["passes"] = passes
    return Outcome(metrics)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    metrics = {f"{name}/seconds": 1.0 for name in ("gradient", "passes", "purify", "sampler")}
    metrics |= {f"{name}/peak_memory_mb": 900.0 for name in ("gradient", "passes")}
    metrics |= {"gradient/times_its_passes": 1.0, "purify/times_the_sampler": 1.0}
    return Outcome(metrics | {"purify/pictures_per_second": 8.0, "passes": 4})


EXPERIMENT = Experiment(
    name="purification_cost",
    title="what an attack through a purifier costs beside its passes",
    section=PurificationTiming,
    cells=cells,
    measure=measure,
    example=example,
    needs=("classifiers",),
    timed=True,
)
