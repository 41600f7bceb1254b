"""Can the metrics be believed? Each against damage of known strength.

A metric that is to show the harm of an attack must move with every kind of harm, and in one
direction. `severity_curves` measures images that are degraded more and more; `monotonicity` says
how well the ranks of severity and metric agree (Spearman). `clean_floor` is what a metric says
about two disjoint sets that are both clean: the best value that samples can reach.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from scipy.stats import spearmanr
from torch import Tensor

from lord.data.pattern import target_pattern
from lord.data.subjects import DOMAINS, Batch, Subject
from lord.metrics.degradations import degrade
from lord.metrics.features import FeatureNet
from lord.metrics.measure import Instruments, Reference, measure, reference_features
from lord.models.pipeline import round_trip
from lord.names import HIGHER_IS_BETTER
from lord.seeding import derive_seed

SEVERITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""The first is no damage at all."""


def ace_target(images: Tensor, severity: Tensor, seeds: Sequence[int]) -> Tensor:
    """The very target of ACE laid over the images with an amplitude of up to 0.2.

    The networks were trained on random tilings; this one they have not seen.
    """
    target = target_pattern(*images.shape[-2:]).to(images) * 2 - 1
    return (images + 0.2 * severity.view(-1, 1, 1, 1).to(images) * target).clamp(0, 1)


def _named(kind: str) -> Callable[[Tensor, Tensor, Sequence[int]], Tensor]:
    return lambda images, severity, seeds: degrade(images, kind, severity, seeds)


VALIDATED = {
    "blur": _named("blur"),
    "noise": _named("noise"),
    "jpeg": _named("jpeg"),
    "ACE pattern": ace_target,
    "AdvDM texture": _named("texture"),
}
"""The degradations that every metric must order by severity."""


Curves = dict[tuple[str, str], list[float]]
"""Values of a metric on images degraded by a kind, under (metric, kind), by severity."""


def identity_of(subject: Subject, batch: Batch) -> dict[str, int]:
    """Value index of each identity attribute of the subject that a batch shows.

    Photographs have none.
    """
    if not batch.attributes:
        return {}
    names = DOMAINS[subject.domain].IDENTITY
    return {name: int(batch.attributes[name][0]) for name in names}


def severity_curves(
    instruments: Instruments,
    pipeline: StableDiffusionPipeline,
    subject: Subject,
    count: int = 96,
    references: int = 256,
) -> Curves:
    """Every metric on photographs of a subject at every severity of every validated degradation.

    Args:
        instruments: the networks to validate.
        pipeline: whose VAE the photographs and the references pass, as samples do.
        subject: whose photographs are degraded; its references stay clean.
        count: photographs in every set.
        references: reference images.
    """
    images, reference, identity = _clean(instruments, pipeline, subject, count, references)
    return curves_of(
        lambda samples: measure(instruments, samples, reference, subject.domain, identity), images
    )


def curves_of(judge: Callable[[Tensor], Mapping[str, float]], images: Tensor) -> Curves:
    """What a judge says of images (N, 3, H, W) in [0, 1] and of what every degradation leaves."""
    seeds = [derive_seed("validation", number) for number in range(len(images))]
    curves = {(name, kind): [value] for kind in VALIDATED for name, value in judge(images).items()}
    for (kind, function), severity in product(VALIDATED.items(), SEVERITIES[1:]):
        damaged = function(images, torch.full((len(images),), severity), seeds)
        for metric, value in judge(damaged).items():
            curves[metric, kind].append(value)
    return curves


def monotonicity(curves: Curves) -> dict[tuple[str, str], float]:
    """Spearman's rank correlation of severity and harm, per (metric, kind).

    1 means that every step of damage made the metric worse; metrics where higher is better enter
    with their sign turned.
    """
    signs = {key: -1 if key[0].startswith(HIGHER_IS_BETTER) else 1 for key in curves}
    return {
        key: float(spearmanr(SEVERITIES, signs[key] * np.array(values)).statistic)
        for key, values in curves.items()
    }


def clean_floor(
    instruments: Instruments,
    pipeline: StableDiffusionPipeline,
    subject: Subject,
    count: int = 96,
    references: int = 256,
) -> Mapping[str, float]:
    """What the metrics say of clean photographs, after the VAE, against other clean references."""
    images, reference, identity = _clean(instruments, pipeline, subject, count, references)
    return measure(instruments, images, reference, subject.domain, identity)


def _clean(
    instruments: Instruments,
    pipeline: StableDiffusionPipeline,
    subject: Subject,
    count: int,
    references: int,
) -> tuple[Tensor, Reference, dict[str, int]]:
    """Photographs after the VAE, what they are compared with, and the subject's identity."""
    network = instruments.features
    size = network.image_size if isinstance(network, FeatureNet) else 64
    batch, others = subject.photographs(count, size), subject.references(references, size)
    reference = reference_features(instruments, pipeline, others.images)
    return round_trip(pipeline, batch.images), reference, identity_of(subject, batch)
