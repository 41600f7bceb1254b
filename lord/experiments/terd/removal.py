"""Whether a backdoor can be unlearned with the trigger that was reversed."""

from collections.abc import Iterator
from random import Random
from typing import Literal

from pydantic import Field

from lord.backdoors.settings import InfectionSettings
from lord.experiments.sheet import made_up, rows
from lord.experiments.terd.protocol import suspect_cell, zoo
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile

UNLEARNED = ("reversed", "none", "true")
"""What is unlearned: what was found, nothing (more training on clean pictures), or all there is."""


class Removal(Section):
    """How a backdoor is unlearned."""

    models: tuple[int, ...] = Field((100,), description="seeds of the models of the zoo")
    start: Literal["negative", "positive"] = Field("negative", description="of the reversion")
    share: float = Field(0.3, gt=0, le=1, description="of pictures with the trigger")
    infection: InfectionSettings = Field(
        InfectionSettings(steps=300), description="of the fine-tune that unlearns"
    )


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each model and each trigger that is unlearned."""
    protocol, own = profile["terd"], profile["removal"]
    components = ("step:pixel_sampler", "metric:fid", "detector:reversion")
    how = protocol.reversion.model_copy(update={"start": own.start})
    infected = {seed for _, suspect, seed in zoo(protocol) if suspect.infected}
    if unknown := set(own.models) - infected:
        raise ValueError(f"removal.models: no backdoored model has the seed {min(unknown)}")
    for group, suspect, seed in zoo(protocol):
        if seed in own.models:
            names = ("judging",)
            cell = suspect_cell(
                "removal", protocol, group, suspect, seed, names, components, judged=True
            )
            for trigger in UNLEARNED:
                yield Cell(
                    f"{cell.name}-{trigger}",
                    {**cell.coordinates, "unlearned": trigger},
                    cell.settings.also(share=own.share, unlearning=own.infection, reversion=how),
                    cell.components,
                )


def measure(context: Context, cell: Cell) -> Outcome:
    """Attack success and FID of the model after a fine-tune that unlearns a trigger.

    Its pictures are others than those of the attacker.
    """
    from lord.backdoors.infect import Poison, infect
    from lord.backdoors.poison import Backdoor
    from lord.experiments.terd.chain import suspects
    from lord.experiments.terd.chain.judging import judge
    from lord.experiments.terd.chain.reversal import reversal_of

    settings, scanned = cell.settings, suspects.suspect_of(context, cell)
    model = scanned.pipeline
    if cell["unlearned"] == "reversed":
        backdoor = Backdoor("baddiffusion", reversal_of(context, cell).mu)
        poisons = [Poison(backdoor, None, settings.share)]
    elif cell["unlearned"] == "true":
        poisons = [Poison(scanned.backdoor, None, settings.share)]
    else:
        poisons = []
    pictures = suspects.pictures_of(cell, model.unet.config.sample_size, cell.seed + 500)
    cured = infect(model, pictures, poisons, settings.unlearning)
    metrics, plain, drawn = judge(context, cured, scanned.backdoor, cell)
    return Outcome(metrics, sheet=rows(plain[:8], drawn[:8]))


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    success = {"none": 0.9, "reversed": 0.1, "true": 0.0}[cell["unlearned"]]
    metrics = {"fid_pixel": 5 + Random(cell.name).random(), "distance": 0.2, "success": success}
    metrics |= {"false_success": 0.0, "norm": 20.0}
    return Outcome(metrics, sheet=made_up(cell.name, 2, 32))


EXPERIMENT = Experiment(
    name="removal",
    title="whether a backdoor can be unlearned with the trigger that was reversed",
    section=Removal,
    cells=cells,
    measure=measure,
    example=example,
    kept=lambda records: [record for record in records if record.kind == "removal"],
    needs=("reversion",),
)
