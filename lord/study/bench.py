"""What experiments share: model, metric networks, and files with intermediate results.

Data flows one way: photographs → attack → fine-tune → sample → measure. What several experiments
need (attacked photographs, reference features, a stage-1 adapter) is made by the first of them and
kept in a work folder, named after all that it depends on: settings, weights and code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from lord.api import instruments_for
from lord.data.subjects import Subject
from lord.files import save_tensors
from lord.metrics.measure import Instruments, Reference, reference_features
from lord.models.card import weights_checksum
from lord.models.pipeline import load_pipeline
from lord.record import code_hash, record_key
from lord.study.profile import Profile

# The code that results depend on, by what is done. What only trains the shipped networks is left
# out: their weights are known by their checksums.
RENDERING = (
    "lord.data.canvas",
    "lord.data.landscapes",
    "lord.data.pattern",
    "lord.data.portraits",
    "lord.data.subjects",
    "lord.seeding",
)
MEASURING = (
    *RENDERING,
    "lord.metrics.clip",
    "lord.metrics.clip_iqa",
    "lord.metrics.degradations",
    "lord.metrics.features",
    "lord.metrics.fid",
    "lord.metrics.identity",
    "lord.metrics.measure",
    "lord.metrics.validation",
    "lord.models.diffusion",
    "lord.models.pipeline",
    "lord.models.sample",
    "lord.study.bench",
    "lord.api",
)
ATTACKING = (
    *RENDERING,
    "lord.adapter.attach",
    "lord.attacks",
    "lord.models.diffusion",
    "lord.models.pipeline",
    "lord.attacks.objectives",
    "lord.study.photographs",
    "lord.attacks.transformations",
)
FINE_TUNING = ("lord.adapter.attach", "lord.finetune", "lord.training.loop")
DEFENDING = (*ATTACKING, *FINE_TUNING, "lord.adapter", "lord.defence", "lord.study.defences")


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

    @property
    def pipeline(self) -> StableDiffusionPipeline:
        """The model under study, loaded once in a process."""
        return _pipeline(self.profile.model)

    @property
    def instruments(self) -> Instruments:
        """The metric networks that fit the model, loaded once in a process."""
        return _instruments(self.profile.model)

    def shared(
        self, name: str, asked: dict[str, Any], modules: Sequence[str], judged: bool = False
    ) -> Path:
        """Where an intermediate result lies that depends on these settings and this code.

        Other settings, weights or code give another path; other metric networks do if the result
        is theirs (``judged``).
        """
        profile = self.profile
        asked = asked | {
            "model": profile.model,
            "size": profile.size,
            "weights": weights_checksum(profile.model, judged),
            "code": code_hash(modules),
        }
        return self.work / f"{name}-{record_key(name, asked, 0)}"


@cache
def _pipeline(model: str) -> StableDiffusionPipeline:
    return load_pipeline(model)


@cache
def _instruments(model: str) -> Instruments:
    return instruments_for(_pipeline(model))


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


def reference_of(bench: Bench, subject: Subject) -> Reference:
    """Features of the subject's clean references, computed once for all conditions and seeds."""
    profile = bench.profile

    def make() -> dict[str, Tensor]:
        references = subject.references(profile.references, profile.size).images
        reference = reference_features(bench.instruments, bench.pipeline, references)
        return {"raw": reference.raw, "round_trip": reference.round_trip}

    name = f"{subject.domain}-{subject.split}-{subject.index}-references"
    path = bench.shared(name, {"references": profile.references}, MEASURING, judged=True)
    return Reference(**made_once(path.with_suffix(".safetensors"), make))
