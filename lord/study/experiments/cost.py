"""What defences cost: training steps, sampling, and purification, side by side in one run."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from lord.api import fine_tune
from lord.data.subjects import Subject
from lord.defences.saved import load_defence, save_defence
from lord.defences.settings import Stage1Settings
from lord.defences.stage1 import train_defence
from lord.defences.treatments import apply_treatment
from lord.models.sample import generate
from lord.purifiers import PURIFIERS, purify
from lord.record import measure
from lord.study.bench import Bench, Outcome
from lord.study.experiments.performance import fastest_turns
from lord.study.profile import TRAINED
from lord.training.lora import remove_adapters
from lord.training.lora_file import load_lora, save_lora

# One step is the difference between so many steps, shared by them: what is done once cancels.
FEW, MANY = 1, 9

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


def measure_cost(bench: Bench) -> Outcome:
    """Seconds of a training step and of sampling with each defence, and what purifiers take.

    ``times`` compares a step with the same without the defence, see `REFERENCES`. Of the training
    steps of `STAGE1` also the peak memory; of purifiers, seconds and peak memory for the
    photographs of a subject.
    """
    with TemporaryDirectory() as folder:
        seconds = step_seconds(bench, Path(folder))
    metrics = {f"{name}/seconds": value for name, value in seconds.items()}
    for name, reference in REFERENCES.items():
        metrics[f"{name}/times"] = seconds[name] / seconds[reference]
    return Outcome(metrics | stage1_memory(bench) | purification_cost(bench))


def album(bench: Bench) -> tuple[Tensor, list[str]]:
    """The photographs of a subject, with their captions."""
    profile = bench.profile
    subject = Subject(profile.domains[0], "evaluation", profile.subjects[0])
    images = subject.photographs(profile.photographs, profile.size).images
    return images, [subject.prompt] * len(images)


def step_seconds(bench: Bench, folder: Path) -> dict[str, float]:
    """Of one optimizer step on a batch, or one sampler step for as many samples as photographs.

    Args:
        folder: for adapters, which are loaded again for every turn.
    """
    profile, pipeline = bench.profile, bench.pipeline
    images, captions = album(bench)

    def stage1(settings: Stage1Settings, kind: str, steps: int) -> None:
        remove_adapters(pipeline)
        chosen = settings.model_copy(update={"kind": kind, "steps": steps})
        train_defence(pipeline, images, images, captions, chosen)

    def stage2(defence: Path | None, steps: int) -> None:
        settings = profile.finetune.model_copy(update={"steps": steps})
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
        stage1(getattr(profile, name), "lord", FEW)
        save_defence(pipeline, folder / name)
    stage2(None, FEW)
    lora = save_lora(pipeline, folder)
    steps: dict[str, Callable[[int], None]] = {
        "stage 1, adversarial training": partial(stage1, profile.adversarial, "lora"),
        "stage 1, LoRA": partial(stage1, profile.stage1, "lora"),
        "stage 1, LoRD": partial(stage1, profile.stage1, "lord"),
        "stage 1, wide LoRA": partial(stage1, profile.wide, "lora"),
        "stage 1, wide LoRD": partial(stage1, profile.wide, "lord"),
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
    seconds = seconds_of_one(steps, pipeline.device)
    remove_adapters(pipeline)
    return seconds


def seconds_of_one(
    steps: Mapping[str, Callable[[int], None]], device: torch.device
) -> dict[str, float]:
    """Seconds of one step of each kind, given what takes any number of them; side by side."""
    few, many = (
        {f"{name} × {count}": partial(step, count) for name, step in steps.items()}
        for count in (FEW, MANY)
    )
    seconds = fastest_turns(few | many, device)
    return {
        name: (seconds[f"{name} × {MANY}"] - seconds[f"{name} × {FEW}"]) / (MANY - FEW)
        for name in steps
    }


def stage1_memory(bench: Bench) -> dict[str, float]:
    """Megabytes at the peak of a training step of each trained defence."""
    images, captions = album(bench)
    metrics = {}
    for defence, name in STAGE1.items():
        settings = getattr(bench.profile, TRAINED[defence][0])
        remove_adapters(bench.pipeline)
        with measure() as measurement:
            chosen = settings.model_copy(update={"steps": FEW})
            train_defence(bench.pipeline, images, images, captions, chosen)
        metrics[f"{name}/peak_memory_mb"] = measurement.peak_memory_mb
    remove_adapters(bench.pipeline)
    return metrics


def purification_cost(bench: Bench) -> dict[str, float]:
    """Seconds and megabytes that each purifier of the study takes for a subject's photographs."""
    images, prompts = album(bench)
    metrics, seeds = {}, list(range(len(images)))
    for method in filter(PURIFIERS.get, bench.profile.faced):
        with measure() as measurement:
            purify(bench.pipeline, images, prompts, seeds, method)
        metrics[f"{method}/seconds"] = measurement.seconds
        metrics[f"{method}/peak_memory_mb"] = measurement.peak_memory_mb
    return metrics
