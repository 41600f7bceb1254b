"""What rank costs: adapter parameters and seconds of a step of stage 2, side by side in one run."""

from collections.abc import Iterator

from lord.experiments.lord.cells import single
from lord.experiments.lord.protocol import UNCHANGED, StepTiming, changed
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell, if ranks are compared."""
    if "rank" in profile:
        names = ["domains", "subjects", "photographs", "finetune", "stage1"]
        components = ["step:finetune", "defence:lord"]
        variants, own = profile["rank"].variants, profile["rank_cost"]
        cell = single("rank_cost", profile["lord"], names, components, variants=variants)
        yield cell.with_settings(own, "turns", "steps")


def measure(context: Context, cell: Cell) -> Outcome:
    """For every rank of the ablation, a LoRA alone and a LoRA on top of LoRD.

    Metrics are ``step_seconds``, of one optimizer step on a batch, and ``adapter_thousands``, the
    parameters of all adapters in thousands.
    """
    from functools import partial
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from lord.api import fine_tune
    from lord.defences.saved import save_defence
    from lord.defences.stage1 import train_defence
    from lord.experiments.lord.chain.model import base_pipeline
    from lord.experiments.lord.chain.photographs import album
    from lord.experiments.timing import seconds_of_one

    own, pipeline = cell.settings, base_pipeline(context, cell.settings)
    images, captions = album(cell)

    def stage2(settings: object, defence: Path | None, steps: int) -> None:
        chosen = settings.model_copy(update={"steps": steps})
        fine_tune(pipeline, images, captions, chosen, defence=defence)

    metrics, steps = {}, {}
    with TemporaryDirectory() as folder:
        for name, changes in ({UNCHANGED: {}} | dict(own.variants)).items():
            stage1 = changed(own.stage1, changes.get("stage1", {}) | {"steps": 1})
            finetune = changed(own.finetune, changes.get("finetune", {}))
            base_pipeline(context, own)
            train_defence(pipeline, images, images, captions, stage1)
            saved = save_defence(pipeline, Path(folder) / name)
            for defence, adapter in (("none", None), ("lord", saved)):
                step = partial(stage2, finetune, adapter)
                step(1)
                adapters = [w for key, w in pipeline.unet.named_parameters() if ".lora_" in key]
                thousands = sum(weight.numel() for weight in adapters) / 1000
                metrics[f"{name}/{defence}/adapter_thousands"] = thousands
                steps[f"{name}/{defence}"] = step
        seconds = seconds_of_one(steps, pipeline.device, own.turns, own.steps)
    return Outcome(metrics | {f"{name}/step_seconds": value for name, value in seconds.items()})


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    variants = (UNCHANGED, *cell.settings.variants)
    names = [f"{variant}/{defence}" for variant in variants for defence in ("none", "lord")]
    metrics = {f"{name}/adapter_thousands": 12.5 for name in names}
    return Outcome(metrics | {f"{name}/step_seconds": 0.25 for name in names})


EXPERIMENT = Experiment(
    name="rank_cost",
    title="what rank costs in parameters and time",
    cells=cells,
    measure=measure,
    example=example,
    section=StepTiming,
    timed=True,
)
