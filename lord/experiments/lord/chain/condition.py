"""One cell of the results: fine-tune on a subject's photographs behind a defence, and measure."""

from functools import partial
from hashlib import sha256
from pathlib import Path

from diffusers import StableDiffusionPipeline
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lord.api import fine_tune
from lord.data.subjects import domain_module
from lord.defences.continued import continue_defence
from lord.defences.decoupling import NEGATIVE, PRIOR_WEIGHT, with_noise, without_noise
from lord.defences.saved import CONFIG_FILE, load_defence, save_defence
from lord.defences.treatments import apply_treatment
from lord.experiments.lord.chain.defences import protect
from lord.experiments.lord.chain.model import (
    TUNED,
    base_pipeline,
    independently,
    instruments_of,
    pipeline_of,
    reference_of,
    resembling,
    weights,
)
from lord.experiments.lord.chain.photographs import images_once, photographs_of
from lord.experiments.lord.chain.scenario import scenario_photographs
from lord.experiments.lord.chain.subjects import Shown, subject_of
from lord.experiments.sheet import rows
from lord.metrics import validation
from lord.metrics.measure import measure
from lord.models.sample import generate
from lord.names import PROMPTED
from lord.seeding import derive_seed
from lord.study.context import Context
from lord.study.experiment import Cell, Outcome, Settings
from lord.training.lora_file import load_lora, save_lora

CLASS_PICTURES = 64
"""Pictures of the class that contrastive decoupling learns beside the subject's."""


def measure_condition(context: Context, cell: Cell) -> Outcome:
    """Metrics of samples, and of the photographs the SSIM: 1 for clean ones.

    All test-time treatments of the gate share one fine-tune and the same sampling seeds. The
    picture has samples and, below them, the photographs they were learned from.
    """
    settings, seed = cell.settings, cell["seed"]
    subject = subject_of(settings, cell["domain"], cell["split"], cell["subject"])
    clean = photographs_of(context, settings, subject, seed, None)
    attacked = settings.values.get("attack")
    images = scenario_photographs(context, settings, subject, seed, attacked, cell["defence"])
    ssim = structural_similarity_index_measure(images, clean, data_range=1.0).item()
    pipeline, images = tuned(context, cell, subject, images)
    sampling = settings.sampling
    seeds = [derive_seed("sample", seed, k) for k in range(sampling.images)]
    prompt, negative = subject.prompt, ""
    if cell["defence"] in PROMPTED:
        (prompt,), negative = without_noise([prompt]), NEGATIVE
    options = (sampling.steps, sampling.guidance_scale, settings.batch_size)
    samples = generate(pipeline, prompt, seeds, *options, negative_prompt=negative)
    adapters = [w for name, w in pipeline.unet.named_parameters() if ".lora_" in name]
    own = {"ssim": ssim, "adapter_thousands": sum(w.numel() for w in adapters) / 1000}
    reference = reference_of(context, settings, subject)
    identity = validation.identity_of(subject, subject.photographs(1, settings.size))
    instruments = instruments_of(context, settings)
    metrics = measure(instruments, samples, reference, subject.domain, identity)
    metrics |= independently(context, settings, subject, samples)
    metrics |= resembling(context, settings, subject, samples)
    count = min(8, len(images))
    return Outcome(metrics | own, sheet=rows(samples[:count], images[:count]))


def tuned(
    context: Context, cell: Cell, subject: Shown, images: Tensor
) -> tuple[StableDiffusionPipeline, Tensor]:
    """The pipeline with the cell's LoRA, trained once for all its treatments.

    And the images (N, 3, H, W) in [0, 1] that it has learned from.
    """
    settings, folder, defence = cell.settings, None, cell["defence"]
    if defence != "none" and defence not in PROMPTED:
        images, folder = protect(context, settings, subject, images, defence)
    itself = folder and settings.scenario.stage2_trains != "lora"
    make = continued_once if itself else partial(lora_once, decoupled=defence in PROMPTED)
    path = make(context, settings, subject, cell["seed"], images, folder)
    pipeline = pipeline_of(context, settings)
    if context.held.get(TUNED) != path:
        base_pipeline(context, settings)
        if folder:
            load_defence(pipeline, path if itself else folder)
        if not itself:
            load_lora(pipeline, path)
        context.held[TUNED] = path
    if folder:
        apply_treatment(pipeline, cell["treatment"])
    return pipeline, images


def lora_once(
    context: Context,
    settings: Settings,
    subject: Shown,
    seed: int,
    images: Tensor,
    defence: Path | None,
    decoupled: bool = False,
) -> Path:
    """The file of a LoRA trained on images on top of a defence, if any.

    Args:
        decoupled: whether prompts name the perturbation, see `lord.defences.decoupling`.
    """
    finetune = settings.finetune.model_copy(update={"seed": seed})
    asked = weights(settings) | {
        "finetune": finetune.model_dump(mode="json"),
        "images": sha256(images.numpy().tobytes()).hexdigest(),
        "defence": defence.name if defence else None,
    }
    captions, prior = [subject.prompt] * len(images), None
    if decoupled:
        captions = with_noise(captions)
        prior = class_pictures(context, settings, subject.domain)
        finetune = finetune.model_copy(update={"prior_weight": PRIOR_WEIGHT})
        asked |= {"captions": captions[:1], "prior": [prior[1][0], len(prior[1])]}
    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-lora"
    path = context.path(name, asked, ["step:finetune"]).with_suffix(".safetensors")
    with context.alone(path):
        if not path.exists():
            pipeline = base_pipeline(context, settings)
            fine_tune(pipeline, images, captions, finetune, defence=defence, prior=prior)
            save_lora(pipeline, path)
            context.held[TUNED] = path
    return path


def class_pictures(context: Context, settings: Settings, domain: str) -> tuple[Tensor, list[str]]:
    """What the base model draws of a class, and the captions that say that it has no noise."""
    prompt, sampling = domain_module(domain).CLASS_PROMPT, settings.sampling

    def make() -> Tensor:
        seeds = [derive_seed("class", domain, k) for k in range(CLASS_PICTURES)]
        pipeline = base_pipeline(context, settings)
        return generate(pipeline, prompt, seeds, sampling.steps, sampling.guidance_scale)

    how = {"steps": sampling.steps, "guidance_scale": sampling.guidance_scale}
    asked = how | {"prompt": prompt, "count": CLASS_PICTURES}
    images = images_once(context, settings, f"{domain}-class", asked, ["step:sampler"], make)
    return images, without_noise([prompt] * len(images))


def continued_once(
    context: Context, settings: Settings, subject: Shown, seed: int, images: Tensor, defence: Path
) -> Path:
    """The folder of a defence a part of which has learned images itself."""
    finetune, trains = settings.finetune, settings.scenario.stage2_trains
    finetune = finetune.model_copy(update={"seed": seed})
    asked = weights(settings) | {
        "finetune": finetune.model_dump(mode="json"),
        "images": sha256(images.numpy().tobytes()).hexdigest(),
        "defence": defence.name,
        "trains": trains,
    }
    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-continued"
    path = context.path(name, asked, ["step:finetune"])
    with context.alone(path):
        if not (path / CONFIG_FILE).exists():
            pipeline = base_pipeline(context, settings)
            load_defence(pipeline, defence)
            captions = [subject.prompt] * len(images)
            continue_defence(pipeline, images, captions, trains, finetune)
            save_defence(pipeline, path)
            context.held[TUNED] = path
    return path
