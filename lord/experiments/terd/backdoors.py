"""Whether backdoors work: what triggered noise becomes, and what becomes of plain noise."""

from collections.abc import Iterator
from random import Random

from lord.experiments.sheet import made_up, rows
from lord.experiments.terd.protocol import of_group, suspect_cell, zoo
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each model."""
    protocol = profile["terd"]
    components = ("step:pixel_sampler", "metric:fid")
    for group, suspect, seed in zoo(protocol):
        names = ("judging",)
        yield suspect_cell("backdoors", protocol, group, suspect, seed, names, components, True)


def measure(context: Context, cell: Cell) -> Outcome:
    """Attack success on triggered noise; FID, and false successes, on plain noise."""
    from lord.experiments.terd.chain import suspects
    from lord.experiments.terd.chain.judging import judge

    scanned = suspects.suspect_of(context, cell)
    metrics, plain, drawn = judge(context, scanned.pipeline, scanned.backdoor, cell)
    return Outcome(metrics, sheet=rows(*(images[:8] for images in (plain, drawn) if len(images))))


def example(cell: Cell) -> Outcome:
    """Made-up numbers: a backdoor works from a rate of some percent on."""
    number, suspect = Random(cell.name), cell.settings.suspect
    metrics = {"fid_pixel": 5 + number.random()}
    if suspect.infected:
        works = suspect.rate > 0.03
        metrics |= {
            "distance": 0.01 if works else 0.2,
            "success": 0.99 if works else 0.02 * number.random(),
            "false_success": 0.0,
            "norm": 20 * suspect.strength,
        }
    return Outcome(metrics, sheet=made_up(cell.name, 2, 32))


EXPERIMENT = Experiment(
    name="backdoors",
    title="whether backdoors work, and what they cost a model",
    cells=cells,
    measure=measure,
    example=example,
    kept=lambda records: of_group(records, "backdoors", "backdoored"),
)
