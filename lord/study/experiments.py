"""The experiments of the study: each a function from a profile to numbers, curves and a picture.

Data flows one way: photographs → attack → fine-tune → sample → measure. Intermediate results that
several experiments share (attacked photographs, reference features, the stage-1 adapter) are files
in a work folder, made by the first experiment that needs them and named after all they depend on.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from lord.attacks import attack, denoising_loss
from lord.data.subjects import Subject, sample_domain
from lord.defence import (
    apply_treatment,
    gate_profile,
    load_defence,
    save_defence,
    train_defence,
)
from lord.files import save_tensors, write_text
from lord.finetune import remove_adapters
from lord.metrics import validation
from lord.metrics.features import FeatureNet, recognise
from lord.metrics.measure import Instruments, Reference, measure, reference_features
from lord.model.card import weights_checksum
from lord.model.pipeline import load_pipeline, round_trip
from lord.record import code_hash, record_key
from lord.sample import generate
from lord.seeding import derive_seed
from lord.study.profile import Profile
from lord.workflow import fine_tune, instruments_for

# Identities of the stage-1 split beyond any that stage 1 trains on.
SELECTION_START = 1_000_000

# The losses of stage 1, beside its adapter.
HISTORY = "history.json"

# The code that intermediate results depend on.
MAKERS = (
    "lord.adapter",
    "lord.attacks",
    "lord.data",
    "lord.defence",
    "lord.finetune",
    "lord.metrics",
    "lord.model",
    "lord.objectives",
    "lord.seeding",
    "lord.training",
    "lord.transformations",
)


@dataclass(frozen=True)
class Outcome:
    """What an experiment found: numbers, curves to plot, and a picture (3, H, W) in [0, 1]."""

    metrics: dict[str, float]
    series: dict[str, list[float]] = field(default_factory=dict)
    sheet: Tensor | None = None


@dataclass(frozen=True)
class Bench:
    """A profile with its model, its metric networks and a folder for shared intermediates."""

    profile: Profile
    work: Path

    @cached_property
    def pipeline(self) -> StableDiffusionPipeline:
        """The model under study, loaded once."""
        return load_pipeline(self.profile.model)

    @cached_property
    def instruments(self) -> Instruments:
        """The metric networks that fit the model, loaded once."""
        return instruments_for(self.pipeline)

    def shared(self, name: str, settings: Sequence[str]) -> Path:
        """Where an intermediate result lies that depends on these settings of the profile.

        Other settings, weights or code give another path.
        """
        asked = self.profile.model_dump(mode="json", include={"model", "size", *settings})
        asked |= {"weights": weights_checksum(self.profile.model), "code": code_hash(MAKERS)}
        return self.work / f"{name}-{record_key(name, asked, 0)}"


def made_once(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors in a safetensors file, which is made first if it is not there."""
    if not path.exists():
        save_tensors(make(), path)
    return load_file(path)


def rows(*images: Tensor) -> Tensor:
    """One picture (3, H, W) with a row for every batch of images (N, 3, h, w)."""
    return torch.cat([torch.cat(list(batch.cpu()), dim=2) for batch in images], dim=1)


def measure_data(bench: Bench) -> Outcome:
    """How fast the renderers draw, and one row of pictures of each domain."""
    size, count = bench.profile.size, 256
    metrics, pictures = {}, []
    for domain in bench.profile.domains:
        sample_domain(domain, "train", range(64), size)  # the first call pays for set-up
        start = time.perf_counter()
        batch = sample_domain(domain, "train", range(count), size)
        metrics[f"{domain}_per_second"] = count / (time.perf_counter() - start)
        pictures.append(batch.images[:8])
    return Outcome(metrics, sheet=rows(*pictures))


def measure_model(bench: Bench) -> Outcome:
    """Reconstruction quality, and whether samples show what their prompts ask for."""
    profile, pipeline = bench.profile, bench.pipeline
    sampling = profile.sampling
    networks = (pipeline.vae, pipeline.unet, pipeline.text_encoder)
    metrics = {"parameters_millions": sum(n.num_parameters() for n in networks) / 1e6}
    errors, pictures, accuracies = [], [], []
    for domain in profile.domains:
        held_out = sample_domain(domain, "evaluation", range(profile.held_out), profile.size)
        restored = round_trip(pipeline, held_out.images)
        error = (restored - held_out.images).square().mean(dim=(1, 2, 3))
        metrics[f"{domain}_psnr"] = _psnr(error)
        errors.append(error)
        pictures += [held_out.images[:8], restored[:8]]
        if not isinstance(bench.instruments.features, FeatureNet):
            continue  # only our own feature network knows attributes
        seeds = [derive_seed("prompted", domain, k) for k in range(profile.held_out)]
        samples = generate(
            pipeline,
            held_out.captions,
            seeds,
            steps=sampling.steps,
            guidance_scale=sampling.guidance_scale,
        )
        recognised = recognise(bench.instruments.features, samples, domain)
        for name, values in recognised.items():
            share = (values == held_out.attributes[name]).float().mean().item()
            metrics[f"accuracy/{domain}/{name}"] = share
            accuracies.append(share)
        pictures.append(samples[:8])
    metrics["psnr"] = _psnr(torch.cat(errors))
    if accuracies:
        metrics["attribute_accuracy"] = sum(accuracies) / len(accuracies)
    return Outcome(metrics, sheet=rows(*pictures))


def _psnr(squared_error: Tensor) -> float:
    """Mean over images of the peak signal-to-noise ratio in dB, for images in [0, 1]."""
    return (-10 * torch.log10(squared_error)).mean().item()


def validate_metrics(bench: Bench, domain: str) -> Outcome:
    """Every metric against every degradation, and what clean photographs score."""
    profile = bench.profile
    subject = Subject(domain, "evaluation", profile.subjects[0])
    count, references = min(96, profile.held_out), profile.references
    points = validation.severity_curves(
        bench.instruments, bench.pipeline, subject, count, references
    )
    floor = validation.clean_floor(bench.instruments, bench.pipeline, subject, count, references)
    metrics = {f"floor/{name}": value for name, value in floor.items()}
    for (metric, kind), value in validation.monotonicity(points).items():
        metrics[f"spearman/{metric}/{kind}"] = value
    series: dict[str, list[float]] = {"severity": list(validation.SEVERITIES)}
    for point in points:
        series.setdefault(f"{point.metric}/{point.kind}", []).append(point.value)
    return Outcome(metrics, series)


def demonstrate_attack(bench: Bench, domain: str) -> Outcome:
    """What the attack does to photographs, and to the model's denoising loss on them."""
    profile, pipeline = bench.profile, bench.pipeline
    subject, seed = Subject(domain, "evaluation", profile.subjects[0]), profile.seeds[0]
    clean = subject.photographs(profile.photographs, profile.size).images
    attacked = attacked_photographs(bench, subject, seed)
    eps = profile.attack.eps
    generator = torch.Generator().manual_seed(derive_seed("control", seed))
    noise = (torch.rand(clean.shape, generator=generator) * 2 - 1) * eps
    noisy = ((clean + noise).clamp(0, 1) * 255).round() / 255
    prompts = [subject.prompt] * len(clean)
    metrics = {"eps_levels": eps * 255}
    for name, images in (("clean", clean), ("noise", noisy), ("attacked", attacked)):
        metrics[f"loss_{name}"] = denoising_loss(pipeline, images, prompts).mean().item()
        metrics[f"psnr_{name}"] = _psnr((images - clean).square().mean(dim=(1, 2, 3)) + 1e-12)
    difference = (0.5 + 8 * (attacked - clean)).clamp(0, 1)
    return Outcome(metrics, sheet=rows(clean[:8], attacked[:8], difference[:8]))


def attacked_photographs(bench: Bench, subject: Subject, seed: int) -> Tensor:
    """The subject's training photographs after the profile's attack, made once."""
    profile = bench.profile

    def make() -> dict[str, Tensor]:
        batch = subject.photographs(profile.photographs, profile.size)
        seeds = [derive_seed("attack", seed, k) for k in range(len(batch.images))]
        prompts = [subject.prompt] * len(seeds)
        images = attack(bench.pipeline, batch.images, prompts, profile.attack, seeds)
        return {"images": (images * 255).round().to(torch.uint8)}

    name = f"{subject.domain}-{subject.split}{subject.index}-seed{seed}-attacked"
    path = bench.shared(name, ["photographs", "attack"]).with_suffix(".safetensors")
    return made_once(path, make)["images"].float() / 255


def reference_of(bench: Bench, subject: Subject) -> Reference:
    """Features of the subject's clean references, computed once for all conditions and seeds."""
    profile = bench.profile

    def make() -> dict[str, Tensor]:
        references = subject.references(profile.references, profile.size).images
        reference = reference_features(bench.instruments, bench.pipeline, references)
        return {"raw": reference.raw, "round_trip": reference.round_trip}

    name = f"{subject.domain}-{subject.split}{subject.index}-references"
    path = bench.shared(name, ["references"]).with_suffix(".safetensors")
    return Reference(**made_once(path, make))


def run_stage1(bench: Bench, domain: str) -> Outcome:
    """Train the defence of a domain on stage-1 identities, and see what its gate can tell."""
    profile, pipeline = bench.profile, bench.pipeline
    folder = defence_of(bench, domain)
    history = json.loads((folder / HISTORY).read_text(encoding="utf-8"))
    clean, attacked, _ = _stage1_images(bench, domain)
    remove_adapters(pipeline)
    load_defence(pipeline, folder)
    subject = Subject(domain, "stage1", SELECTION_START)
    photographs = subject.photographs(profile.photographs, profile.size).images
    gates = gate_profile(
        pipeline,
        photographs,
        attacked_photographs(bench, subject, profile.seeds[0]),
        [subject.prompt] * len(photographs),
    )
    remove_adapters(pipeline)
    return Outcome(
        {"images": len(clean), "gate_accuracy": gates.accuracy},
        history | gates.series,
        rows(clean[:8], attacked[:8]),
    )


def _stage1_images(bench: Bench, domain: str) -> tuple[Tensor, Tensor, list[str]]:
    """Clean and attacked pictures of many stage-1 identities, with their captions, made once."""
    profile = bench.profile
    data = profile.stage1_data
    batch = sample_domain(domain, "stage1", range(data.identities), profile.size)

    def make() -> dict[str, Tensor]:
        seeds = [derive_seed("stage1", k) for k in range(data.identities)]
        images = attack(bench.pipeline, batch.images, batch.captions, data.attack, seeds)
        return {"images": (images * 255).round().to(torch.uint8)}

    path = bench.shared(f"{domain}-stage1-attacked", ["stage1_data"]).with_suffix(".safetensors")
    return batch.images, made_once(path, make)["images"].float() / 255, batch.captions


def defence_of(bench: Bench, domain: str) -> Path:
    """The folder of the domain's stage-1 adapter, trained once, with the history of its losses."""
    folder = bench.shared(f"{domain}-defence", ["stage1", "stage1_data"])
    if not (folder / HISTORY).exists():
        clean, attacked, captions = _stage1_images(bench, domain)
        remove_adapters(bench.pipeline)
        history = train_defence(
            bench.pipeline,
            clean,
            attacked,
            captions,
            bench.profile.stage1,
            checkpoint=bench.work / f"{domain}-stage1-checkpoint.safetensors",
        )
        save_defence(bench.pipeline, folder)
        write_text(folder / HISTORY, json.dumps(history))  # the last file says that all are there
    return folder


def measure_condition(
    bench: Bench,
    subject: Subject,
    seed: int,
    attack_name: str,
    defence: str,
    treatments: Sequence[str],
) -> Iterable[tuple[str, Outcome]]:
    """Fine-tune on the subject's photographs under one condition, sample and measure.

    Yields one outcome for every test-time treatment of the gate; without a defence there is one
    treatment, ``"none"``. All share the same fine-tune and the same sampling seeds.
    """
    profile, pipeline = bench.profile, bench.pipeline
    if attack_name == "none":
        images = subject.photographs(profile.photographs, profile.size).images
    else:
        images = attacked_photographs(bench, subject, seed)
    settings = profile.finetune.model_copy(update={"seed": seed})
    folder = defence_of(bench, subject.domain) if defence == "lord" else None
    fine_tune(pipeline, images, [subject.prompt] * len(images), settings, defence=folder)
    reference = reference_of(bench, subject)
    identity = validation.identity_of(subject, subject.photographs(1, profile.size))
    seeds = [derive_seed("sample", seed, k) for k in range(profile.sampling.images)]
    for treatment in treatments:
        if defence == "lord":
            apply_treatment(pipeline, treatment)
        samples = generate(
            pipeline,
            [subject.prompt] * len(seeds),
            seeds,
            steps=profile.sampling.steps,
            guidance_scale=profile.sampling.guidance_scale,
        )
        metrics = measure(bench.instruments, samples, reference, subject.domain, identity)
        yield treatment, Outcome(metrics, sheet=rows(samples[:8]))
    remove_adapters(pipeline)
