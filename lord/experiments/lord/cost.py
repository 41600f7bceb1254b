"""What defences cost: training steps, sampling, and purification, side by side in one run."""

from collections.abc import Iterator

from lord.experiments.lord.cells import pixel_settings, single
from lord.experiments.lord.conditions import defended
from lord.experiments.lord.protocol import StepTiming, takes_part
from lord.names import IN_PIXELS, PURIFIERS
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile

# The training step of each trained defence.
STAGE1 = {
    "adversarial": "stage 1, adversarial training",
    "lord": "stage 1, LoRD",
    "lord_wide": "stage 1, wide LoRD",
}

# What each step is compared with.
REFERENCES = {
    "stage 1, LoRD": "stage 1, LoRA",
    "stage 1, wide LoRD": "stage 1, wide LoRA",
    "stage 2, LoRD": "stage 2, no defence",
    "stage 2, wide LoRD": "stage 2, no defence",
    "sampling, LoRA": "sampling, base model",
    "sampling, LoRA and learned gate": "sampling, base model",
    "sampling, LoRA and closed gate": "sampling, base model",
    "sampling, LoRA, defence dropped": "sampling, base model",
    "sampling, LoRA and defence merged": "sampling, base model",
}


def cells(profile: Profile) -> Iterator[Cell]:
    names = ["domains", "subjects", "photographs", "finetune", "stage1", "wide", "adversarial"]
    protocol, found = profile["lord"], defended(profile["main"].conditions)
    domain = protocol.domains[0]
    purifiers = [n for n in found if n in PURIFIERS and takes_part(protocol, domain, n)]
    further = pixel_settings(protocol, domain) if {*purifiers} & {*IN_PIXELS} else {}
    components = ["step:finetune", "defence:lord", "defence:lora", "step:sampler"]
    components += [f"purifier:{name}" for name in purifiers]
    cell = single("cost", protocol, names, components, purifiers=purifiers, **further)
    yield cell.with_settings(profile["cost"], "turns", "steps")


def measure(context: Context, cell: Cell) -> Outcome:
    """Seconds of a training step and of sampling with each defence, and what purifiers take.

    ``times`` compares a step with the same without the defence, see `REFERENCES`. Of the training
    steps of `STAGE1` also the peak memory; of purifiers, seconds and peak memory for the
    photographs of a subject.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from lord.experiments.lord.chain.model import base_pipeline
    from lord.experiments.lord.chain.steps import purification_cost, stage1_memory, step_seconds

    pipeline = base_pipeline(context, cell.settings)
    with TemporaryDirectory() as folder:
        seconds = step_seconds(pipeline, cell, Path(folder))
    metrics = {f"{name}/seconds": value for name, value in seconds.items()}
    for name, reference in REFERENCES.items():
        metrics[f"{name}/times"] = seconds[name] / seconds[reference]
    metrics |= stage1_memory(pipeline, cell) | purification_cost(context, pipeline, cell)
    return Outcome(metrics)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    metrics = {"stage 1, LoRD/times": 1.1}
    for place, name in enumerate((*STAGE1.values(), *cell.settings.purifiers), start=1):
        metrics |= {f"{name}/seconds": place / 10, f"{name}/peak_memory_mb": 1000 + 100 * place}
    return Outcome(metrics)


EXPERIMENT = Experiment(
    name="cost",
    title="what defences cost in time and memory",
    cells=cells,
    measure=measure,
    example=example,
    section=StepTiming,
    timed=True,
)
