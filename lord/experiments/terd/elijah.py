"""A rival of TERD: whether samples of the most effective shift are all alike."""

from collections.abc import Iterator
from random import Random

from lord.experiments.sheet import made_up, rows
from lord.experiments.terd.protocol import suspect_cell, zoo
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each model."""
    protocol = profile["terd"]
    components = ("step:pixel_sampler", "detector:elijah")
    for group, suspect, seed in zoo(protocol):
        yield suspect_cell("elijah", protocol, group, suspect, seed, ("elijah",), components)


def measure(context: Context, cell: Cell) -> Outcome:
    """Likeness and smoothness of samples of shifted noise, and the shift's cosine to the trigger.

    The likeness is one over the mean distance of samples, so that high is suspicious.
    """
    import torch

    from lord.backdoors.elijah import shift, spread, total_variation
    from lord.experiments.terd.chain import suspects
    from lord.models.pixel import sample
    from lord.seeding import derive_seed

    settings, scanned = cell.settings.elijah, suspects.suspect_of(context, cell)
    pipeline = scanned.pipeline
    tau = shift(pipeline, settings)
    noises = suspects.plain_noises("elijah", settings.samples, pipeline)
    seeds = [derive_seed("elijah", "steps", k) for k in range(settings.samples)]
    drawn = sample(pipeline, noises + tau, settings.sampler_steps, seeds)
    metrics = {
        "likeness": 1 / max(spread(drawn), 1e-6),
        "total_variation": total_variation(drawn),
        "shift_norm": tau.norm().item(),
    }
    if scanned.backdoor is not None:
        metrics["shift_cosine"] = torch.cosine_similarity(
            tau.flatten(), scanned.backdoor.mu.flatten(), 0
        ).item()
    return Outcome(metrics, sheet=rows(drawn[:8]))


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    number, attacked = Random(cell.name), cell.settings.suspect.infected
    metrics = {
        "likeness": (50.0 if attacked else 4.0) + number.random(),
        "total_variation": 0.05,
        "shift_norm": 20.0,
    }
    if attacked:
        metrics["shift_cosine"] = 0.8
    return Outcome(metrics, sheet=made_up(cell.name, 1, 32))


EXPERIMENT = Experiment(
    name="elijah",
    title="whether samples of the most effective shift are all alike, a rival of TERD",
    cells=cells,
    measure=measure,
    example=example,
    needs=("backdoors",),
)
