"""Rivals of TERD on inputs: whether triggered noises are told without reversing the trigger."""

from collections.abc import Iterator
from random import Random

from pydantic import Field, PositiveInt

from lord.experiments.terd.protocol import suspect_cell, zoo
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile


class InputRivals(Section):
    """How many noises are perturbed, and how."""

    perturbed: PositiveInt = Field(16, description="noises of either kind")
    share: float = Field(0.5, gt=0, lt=1, description="s of `lord.backdoors.likeness`")
    copies: int = Field(4, ge=2, description="of each noise")
    sampler_steps: PositiveInt = Field(10, description="of DDIM")


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each model with a backdoor."""
    components = ("step:pixel_sampler", "detector:energy", "detector:values", "detector:likeness")
    for group, suspect, seed in zoo(profile["terd"]):
        if suspect.infected:
            cell = suspect_cell(
                "input_rivals", profile["terd"], group, suspect, seed, ("noises",), components
            )
            yield cell.with_settings(profile["input_rivals"], *InputRivals.model_fields)


def measure(context: Context, cell: Cell) -> Outcome:
    """Shares told right by energy and by values; pairs put in order by the likeness of samples.

    For the likeness no threshold is published. Its share is that of pairs of a benign and a
    triggered noise of which the triggered one is the more alike.
    """
    from lord.backdoors.inputs import energy_is_odd, values_are_odd
    from lord.backdoors.likeness import likeness
    from lord.experiments.terd.chain import suspects

    own, scanned = cell.settings, suspects.suspect_of(context, cell)
    plain, other = (
        suspects.plain_noises(kind, own.noises, scanned.pipeline) for kind in ("inputs", "others")
    )
    triggered = scanned.backdoor.start(other)
    metrics = {"inputs": own.noises}
    for name, is_odd in (("energy", energy_is_odd), ("values", values_are_odd)):
        metrics[f"{name}_benign"] = (~is_odd(plain)).float().mean().item()
        metrics[f"{name}_triggered"] = is_odd(triggered).float().mean().item()
    benign, alike = (
        likeness(
            scanned.pipeline, noises[: own.perturbed], own.share, own.copies, own.sampler_steps
        )
        for noises in (plain, triggered)
    )
    metrics["likeness_ordered"] = (alike[:, None] > benign).float().mean().item()
    return Outcome(metrics)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    number = Random(cell.name)
    metrics = {"inputs": 100, "energy_benign": 0.99, "values_benign": 0.99}
    told = ("energy_triggered", "values_triggered", "likeness_ordered")
    return Outcome(metrics | {name: number.random() for name in told})


EXPERIMENT = Experiment(
    name="input_rivals",
    title="whether triggered noises are told without reversing the trigger",
    section=InputRivals,
    cells=cells,
    measure=measure,
    example=example,
    needs=("backdoors",),
)
