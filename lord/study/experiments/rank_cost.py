"""What rank costs: adapter parameters and seconds of a step of stage 2, side by side in one run."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from lord.api import fine_tune
from lord.defences.saved import save_defence
from lord.defences.stage1 import train_defence
from lord.study.bench import Bench, Outcome
from lord.study.experiments.cost import FEW, album, seconds_of_one
from lord.study.profile import UNCHANGED
from lord.training.lora import remove_adapters
from lord.training.settings import FinetuneSettings


def measure_rank_cost(bench: Bench) -> Outcome:
    """For every rank of the ablation, a LoRA alone and a LoRA on top of LoRD.

    Metrics are ``step_seconds``, of one optimizer step on a batch, and ``adapter_thousands``, the
    parameters of all adapters in thousands.
    """
    pipeline, profile = bench.pipeline, bench.profile
    images, captions = album(bench)

    def stage2(settings: FinetuneSettings, defence: Path | None, steps: int) -> None:
        settings = settings.model_copy(update={"steps": steps})
        fine_tune(pipeline, images, captions, settings, defence=defence)

    variants = {UNCHANGED: {}} | profile.ablations["rank"].variants
    metrics, steps = {}, {}
    with TemporaryDirectory() as folder:
        for name, changes in variants.items():
            varied = profile.varied(changes)
            remove_adapters(pipeline)
            stage1 = varied.stage1.model_copy(update={"steps": FEW})
            train_defence(pipeline, images, images, captions, stage1)
            saved = save_defence(pipeline, Path(folder) / name)
            for defence, adapter in (("none", None), ("lord", saved)):
                step = partial(stage2, varied.finetune, adapter)
                step(FEW)
                adapters = [w for key, w in pipeline.unet.named_parameters() if ".lora_" in key]
                thousands = sum(weight.numel() for weight in adapters) / 1000
                metrics[f"{name}/{defence}/adapter_thousands"] = thousands
                steps[f"{name}/{defence}"] = step
        seconds = seconds_of_one(steps, pipeline.device)
    remove_adapters(pipeline)
    return Outcome(metrics | {f"{name}/step_seconds": value for name, value in seconds.items()})
