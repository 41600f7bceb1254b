"""What is timed of defences: training steps, sampling and purification."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from diffusers import StableDiffusionPipeline

from lord.api import fine_tune
from lord.defences.saved import load_defence, save_defence
from lord.defences.settings import Stage1Settings
from lord.defences.stage1 import train_defence
from lord.defences.treatments import apply_treatment
from lord.experiments.lord.chain.photographs import album
from lord.experiments.lord.cost import STAGE1
from lord.experiments.lord.protocol import TRAINED
from lord.experiments.timing import seconds_of_one
from lord.models.pixel import load_ddpm
from lord.models.sample import generate
from lord.names import IN_PIXELS
from lord.purifiers.methods import purify
from lord.record import measure
from lord.study.context import Context
from lord.study.experiment import Cell
from lord.training.lora import remove_adapters
from lord.training.lora_file import load_lora, save_lora


def step_seconds(pipeline: StableDiffusionPipeline, cell: Cell, folder: Path) -> dict[str, float]:
    """Of one optimizer step on a batch, or one sampler step for as many samples as photographs.

    Args:
        folder: for adapters, which are loaded again for every turn.
    """
    own, (images, captions) = cell.settings, album(cell)

    def stage1(settings: Stage1Settings, kind: str, steps: int) -> None:
        remove_adapters(pipeline)
        chosen = settings.model_copy(update={"kind": kind, "steps": steps})
        train_defence(pipeline, images, images, captions, chosen)

    def stage2(defence: Path | None, steps: int) -> None:
        settings = own.finetune.model_copy(update={"steps": steps})
        fine_tune(pipeline, images, captions, settings, defence=defence)

    def sampling(lora: Path | None, treatment: str | None, steps: int) -> None:
        remove_adapters(pipeline)
        if treatment:
            load_defence(pipeline, folder / "wide")
        if lora:
            load_lora(pipeline, lora)
        if treatment:
            apply_treatment(pipeline, treatment)
        generate(pipeline, captions, list(range(len(images))), steps=steps)

    for name in ("stage1", "wide"):
        stage1(getattr(own, name), "lord", 1)
        save_defence(pipeline, folder / name)
    stage2(None, 1)
    lora = save_lora(pipeline, folder)
    steps: dict[str, Callable[[int], None]] = {
        "stage 1, adversarial training": partial(stage1, own.adversarial, "lora"),
        "stage 1, LoRA": partial(stage1, own.stage1, "lora"),
        "stage 1, LoRD": partial(stage1, own.stage1, "lord"),
        "stage 1, wide LoRA": partial(stage1, own.wide, "lora"),
        "stage 1, wide LoRD": partial(stage1, own.wide, "lord"),
        "stage 2, no defence": partial(stage2, None),
        "stage 2, LoRD": partial(stage2, folder / "stage1"),
        "stage 2, wide LoRD": partial(stage2, folder / "wide"),
        "sampling, base model": partial(sampling, None, None),
        "sampling, LoRA": partial(sampling, lora, None),
        "sampling, LoRA and learned gate": partial(sampling, lora, "learned"),
        "sampling, LoRA and closed gate": partial(sampling, lora, "lambda=0"),
        "sampling, LoRA, defence dropped": partial(sampling, lora, "dropped"),
        "sampling, LoRA and defence merged": partial(sampling, lora, "merged"),
    }
    seconds = seconds_of_one(steps, pipeline.device, own.turns, own.steps)
    remove_adapters(pipeline)
    return seconds


def stage1_memory(pipeline: StableDiffusionPipeline, cell: Cell) -> dict[str, float]:
    """Megabytes at the peak of a training step of each trained defence."""
    images, captions = album(cell)
    metrics = {}
    for defence, name in STAGE1.items():
        settings = getattr(cell.settings, TRAINED[defence][0])
        remove_adapters(pipeline)
        with measure() as measurement:
            chosen = settings.model_copy(update={"steps": 1})
            train_defence(pipeline, images, images, captions, chosen)
        metrics[f"{name}/peak_memory_mb"] = measurement.peak_memory_mb
    remove_adapters(pipeline)
    return metrics


def purification_cost(
    context: Context, pipeline: StableDiffusionPipeline, cell: Cell
) -> dict[str, float]:
    """Seconds and megabytes that each purifier of the study takes for a subject's photographs."""
    images, prompts = album(cell)
    metrics, seeds = {}, list(range(len(images)))
    for method in cell.settings.purifiers:
        model = pipeline
        if method in IN_PIXELS:
            model = context.hold(load_ddpm, cell.settings.pixel_model)
        with measure() as measurement:
            purify(model, images, prompts, seeds, method)
        metrics[f"{method}/seconds"] = measurement.seconds
        metrics[f"{method}/peak_memory_mb"] = measurement.peak_memory_mb
    return metrics
