"""The model under study and its judges, loaded once, and what they say of clean references."""

from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.api import instruments_for
from lord.data.subjects import domain_module, sample_domain
from lord.experiments.lord.chain.subjects import Shown
from lord.metrics.fid import extract
from lord.metrics.imagenet import load_imagenet
from lord.metrics.independent import (
    NEAREST,
    IndependentReference,
    measure_independently,
)
from lord.metrics.measure import Instruments, Reference, reference_features
from lord.metrics.reader import fit_reader
from lord.metrics.resemblance import load_encoder, resemblance
from lord.metrics.validation import identity_of
from lord.models.memory import spare_memory
from lord.models.pipeline import load_pipeline, round_trip
from lord.study.context import Context
from lord.study.experiment import Settings
from lord.training.lora import remove_adapters

READ, FIRST_READ = 4, 20_000_000
"""How many renders teach the reader for each reference, and the number of the first."""

TUNED = ("the LoRA on the pipeline",)
"""Under this name a context holds the file of the LoRA that the pipeline has, if it is known."""


def pipeline_of(context: Context, settings: Settings) -> StableDiffusionPipeline:
    """The model under study, with the adapters that it has at present."""
    return context.hold(_open, settings.model, settings.memory)


def _open(model: str, memory: str) -> StableDiffusionPipeline:
    pipeline = load_pipeline(model)
    if memory == "low":
        spare_memory(pipeline)
    return pipeline


def base_pipeline(context: Context, settings: Settings) -> StableDiffusionPipeline:
    """The model under study without any adapter."""
    pipeline = pipeline_of(context, settings)
    remove_adapters(pipeline)
    context.held.pop(TUNED, None)
    return pipeline


def instruments_of(context: Context, settings: Settings) -> Instruments:
    """The metric networks that fit the model."""
    return context.hold(instruments_for, pipeline_of(context, settings))


def weights(settings: Settings, judged: bool = False) -> dict[str, Any]:
    """What an intermediate result depends on that the model makes, or its judges as well.

    The model and, where there are any, the photographs.
    """
    checksums = settings.weights if judged else {"model": settings.weights["model"]}
    asked = {"model": settings.model, "size": settings.size, "weights": checksums}
    if "albums" in settings.values:
        asked |= {name: settings.asked[name] for name in ("albums", "pictures")}
    return asked


def reference_of(context: Context, settings: Settings, subject: Shown) -> Reference:
    """Features of the subject's clean references, computed once for all conditions and seeds."""

    def make() -> dict[str, Tensor]:
        references = subject.references(settings.references, settings.size).images
        instruments, pipeline = instruments_of(context, settings), pipeline_of(context, settings)
        reference = reference_features(instruments, pipeline, references)
        return {"raw": reference.raw, "round_trip": reference.round_trip}

    name = f"{subject.domain}-{subject.split}-{subject.index}-references"
    asked = weights(settings, judged=True) | {"references": settings.references}
    return Reference(**context.once(name, asked, ["step:renderer", "metric:fid"], make))


def independently(
    context: Context, settings: Settings, subject: Shown, samples: Tensor
) -> dict[str, float]:
    """What independent judges say of samples of a subject; nothing if they are not asked for."""
    if not settings.independent:
        return {}
    judge = context.hold(load_imagenet, pipeline_of(context, settings).device)
    return measure_independently(
        judge, samples, independent_reference_of(context, settings, subject)
    )


def independent_reference_of(
    context: Context, settings: Settings, subject: Shown
) -> IndependentReference:
    """What they compare a subject's samples with, computed once, as `reference_of`."""

    def make() -> dict[str, Tensor]:
        images = subject.references(settings.references, settings.size).images
        return {"features": _seen(context, settings, images), "photographs": images[:NEAREST]}

    name = f"{subject.domain}-{subject.split}-{subject.index}-independent"
    asked = weights(settings) | {"references": settings.references}
    components = ["step:renderer", "metric:fid_imagenet", "metric:ms_ssim_distance"]
    found = context.once(name, asked, components, make)
    identity = identity_of(subject, subject.photographs(1, settings.size))
    reader = _reader_of(context, settings, subject.domain) if identity else {}
    return IndependentReference(**found, reader=reader, identity=identity)


def _reader_of(context: Context, settings: Settings, domain: str) -> dict[str, Tensor]:
    """What reads the attributes of a domain, fitted once to renders that no other part shows."""
    count = READ * settings.references

    def make() -> dict[str, Tensor]:
        batch = sample_domain(domain, "train", range(FIRST_READ, FIRST_READ + count), settings.size)
        module = domain_module(domain)
        values = {name: len(module.ATTRIBUTES[name]) for name in module.IDENTITY}
        return fit_reader(_seen(context, settings, batch.images), batch.attributes, values)

    asked = weights(settings) | {"pictures": count}
    components = ["step:renderer", "metric:imagenet_identity"]
    return context.once(f"{domain}-reader", asked, components, make)


def _seen(context: Context, settings: Settings, images: Tensor) -> Tensor:
    """Features of clean images after the VAE, which samples have passed as well."""
    pipeline = pipeline_of(context, settings)
    judge = context.hold(load_imagenet, pipeline.device)
    return extract(judge, round_trip(pipeline, images))


def resembling(
    context: Context, settings: Settings, subject: Shown, samples: Tensor
) -> dict[str, float]:
    """How much samples look like the references of a subject; nothing without an encoder."""
    model = settings.values.get("identity_model")
    if not model:
        return {}
    encoder = context.hold(load_encoder, model, pipeline_of(context, settings).unet.device)
    references = subject.references(settings.references, settings.size).images
    found = resemblance(extract(encoder, samples), extract(encoder, references))
    return {"identity_similarity": found.mean().item()}


def psnr(squared_error: Tensor) -> float:
    """Mean over images of the peak signal-to-noise ratio in dB, for images in [0, 1]."""
    return (-10 * torch.log10(squared_error)).mean().item()
