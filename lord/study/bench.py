"""What experiments share: model, metric networks, and intermediate results.

Data flows one way: photographs → attack → fine-tune → sample → measure. Intermediate results that
several experiments share (attacked photographs, reference features, the stage-1 adapter) are files
in a work folder, made by the first experiment that needs them and named after all they depend on.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from lord.attacks import attack
from lord.data.subjects import Subject, sample_domain
from lord.defence import save_defence, train_defence
from lord.files import save_tensors, write_text
from lord.finetune import remove_adapters
from lord.metrics.measure import Instruments, Reference, reference_features
from lord.model.card import weights_checksum
from lord.model.pipeline import load_pipeline
from lord.record import code_hash, record_key
from lord.seeding import derive_seed
from lord.study.profile import Profile
from lord.workflow import instruments_for

# Identities of the stage-1 split beyond any that stage 1 trains on.
SELECTION_START = 1_000_000

# The losses of stage 1, beside its adapter.
HISTORY = "history.json"

# The code that results depend on. What only trains the shipped networks is left out: their weights
# are known by their checksums.
MEASURING = (
    "lord.data",
    "lord.metrics.clip",
    "lord.metrics.clip_iqa",
    "lord.metrics.degradations",
    "lord.metrics.features",
    "lord.metrics.fid",
    "lord.metrics.identity",
    "lord.metrics.measure",
    "lord.metrics.validation",
    "lord.model.diffusion",
    "lord.model.pipeline",
    "lord.sample",
    "lord.seeding",
    "lord.study.bench",
    "lord.workflow",
)
# The code that intermediate results depend on.
MAKERS = (
    *MEASURING,
    "lord.adapter",
    "lord.attacks",
    "lord.defence",
    "lord.finetune",
    "lord.objectives",
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

    def shared(self, name: str, settings: Sequence[str], judged: bool = False) -> Path:
        """Where an intermediate result lies that depends on these settings of the profile.

        Other settings, weights or code give another path; other metric networks do if the result
        is theirs (``judged``).
        """
        asked = self.profile.model_dump(mode="json", include={"model", "size", *settings})
        weights = weights_checksum(self.profile.model, judged)
        asked |= {"weights": weights, "code": code_hash(MAKERS)}
        return self.work / f"{name}-{record_key(name, asked, 0)}"


def made_once(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors in a safetensors file, which is made first if it is not there."""
    if not path.exists():
        save_tensors(make(), path)
    return load_file(path)


def rows(*images: Tensor) -> Tensor:
    """One picture (3, H, W) with a row for every batch of images (N, 3, h, w)."""
    return torch.cat([torch.cat(list(batch.cpu()), dim=2) for batch in images], dim=1)


def psnr(squared_error: Tensor) -> float:
    """Mean over images of the peak signal-to-noise ratio in dB, for images in [0, 1]."""
    return (-10 * torch.log10(squared_error)).mean().item()


def attacked_photographs(bench: Bench, subject: Subject, seed: int) -> Tensor:
    """The subject's training photographs after the profile's attack, made once."""
    profile = bench.profile

    def make() -> dict[str, Tensor]:
        batch = subject.photographs(profile.photographs, profile.size)
        seeds = [derive_seed("attack", seed, k) for k in range(len(batch.images))]
        prompts = [subject.prompt] * len(seeds)
        remove_adapters(bench.pipeline)  # whoever attacks knows the base model, not the defence
        images = attack(bench.pipeline, batch.images, prompts, profile.attack, seeds)
        return {"images": (images * 255).round().to(torch.uint8)}

    name = f"{subject.domain}-{subject.split}-{subject.index}-seed{seed}-attacked"
    path = bench.shared(name, ["photographs", "attack"]).with_suffix(".safetensors")
    return made_once(path, make)["images"].float() / 255


def reference_of(bench: Bench, subject: Subject) -> Reference:
    """Features of the subject's clean references, computed once for all conditions and seeds."""
    profile = bench.profile

    def make() -> dict[str, Tensor]:
        references = subject.references(profile.references, profile.size).images
        reference = reference_features(bench.instruments, bench.pipeline, references)
        return {"raw": reference.raw, "round_trip": reference.round_trip}

    name = f"{subject.domain}-{subject.split}-{subject.index}-references"
    path = bench.shared(name, ["references"], judged=True).with_suffix(".safetensors")
    return Reference(**made_once(path, make))


def stage1_images(bench: Bench, domain: str) -> tuple[Tensor, Tensor, list[str]]:
    """Clean and attacked pictures of many stage-1 identities, with their captions, made once."""
    profile = bench.profile
    data = profile.stage1_data
    batch = sample_domain(domain, "stage1", range(data.identities), profile.size)

    def make() -> dict[str, Tensor]:
        seeds = [derive_seed("stage1", k) for k in range(data.identities)]
        remove_adapters(bench.pipeline)
        images = attack(bench.pipeline, batch.images, batch.captions, data.attack, seeds)
        return {"images": (images * 255).round().to(torch.uint8)}

    path = bench.shared(f"{domain}-stage1-attacked", ["stage1_data"]).with_suffix(".safetensors")
    return batch.images, made_once(path, make)["images"].float() / 255, batch.captions


def defence_of(bench: Bench, domain: str) -> Path:
    """The folder of the domain's stage-1 adapter, trained once, with the history of its losses."""
    folder = bench.shared(f"{domain}-defence", ["stage1", "stage1_data"])
    if not (folder / HISTORY).exists():
        clean, attacked, captions = stage1_images(bench, domain)
        remove_adapters(bench.pipeline)
        history = train_defence(
            bench.pipeline,
            clean,
            attacked,
            captions,
            bench.profile.stage1,
            checkpoint=folder / "checkpoint.safetensors",
        )
        save_defence(bench.pipeline, folder)
        write_text(folder / HISTORY, json.dumps(history))  # the last file says that all are there
        for path in folder.glob("checkpoint-*"):
            path.unlink()
    return folder
