"""What experiments share: model, metric networks, and files with intermediate results.

Data flows one way: photographs → attack → fine-tune → sample → measure. What several experiments
need (attacked photographs, reference features, a stage-1 adapter) is made by the first of them and
kept in a work folder, named after all that it depends on: settings, weights and the versions of
components.
"""

from collections.abc import Callable, Iterable
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
from lord.models.card import weights_of
from lord.models.pipeline import load_pipeline
from lord.names import version_of
from lord.record import record_key
from lord.study.profile import Profile


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
        self, name: str, asked: dict[str, Any], components: Iterable[str], judged: bool = False
    ) -> Path:
        """Where an intermediate result lies that depends on these settings and components.

        Other settings, weights or versions give another path; other metric networks do if the
        result is theirs (``judged``).
        """
        profile = self.profile
        asked = asked | {"model": profile.model, "size": profile.size}
        asked["weights"] = weights_of(profile.model, judged)
        versions = {component: version_of(component) for component in components}
        return self.work / f"{name}-{record_key(name, asked, 0, versions)}"


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
    path = bench.shared(
        name, {"references": profile.references}, ["step:renderer", "metric:fid"], judged=True
    )
    return Reference(**made_once(path.with_suffix(".safetensors"), make))
