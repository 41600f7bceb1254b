"""Everything the study measures on one set of samples, in one call.

The names of the results carry the networks they come from: with the embedded model
``fid_embedded``, ``fid_embedded_round_trip``, ``clip_iqa_embedded`` and ``identity``; with a hub
model ``fid_inception``, ``fid_inception_round_trip`` and ``clip_iqa_openai``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from lord.metrics.clip_iqa import ClipEncoder, clip_iqa
from lord.metrics.features import FeatureNet
from lord.metrics.fid import extract, fid
from lord.metrics.identity import match_of
from lord.models.diffusion import Pipeline
from lord.models.pipeline import round_trip


@dataclass(frozen=True)
class Instruments:
    """The networks that measure, with the names that their results carry."""

    features: nn.Module
    clip: ClipEncoder
    fid_name: str
    clip_iqa_name: str


@dataclass(frozen=True)
class Reference:
    """Features of clean reference images, (N, D): as they are and after the VAE round trip."""

    raw: Tensor
    round_trip: Tensor


def reference_features(
    instruments: Instruments, pipeline: Pipeline, references: Tensor
) -> Reference:
    """Both feature sets of one subject's clean references, to be reused for every condition.

    Args:
        references: shape (N, 3, H, W), in [0, 1]; many, for FID is biased in small sets.
    """
    return Reference(
        extract(instruments.features, references),
        extract(instruments.features, round_trip(pipeline, references)),
    )


def measure(
    instruments: Instruments,
    samples: Tensor,
    reference: Reference,
    domain: str | None = None,
    identity: Mapping[str, int] | None = None,
) -> dict[str, float]:
    """All metrics of one set of samples.

    Args:
        samples: shape (N, 3, H, W), in [0, 1].
        reference: from `reference_features`.
        domain: of the subject, with ``identity``.
        identity: value index of the subject's identity attributes; without it, or with networks
            that know no attributes, identity match is left out.
    """
    features = extract(instruments.features, samples)
    results = {
        instruments.fid_name: fid(reference.raw, features),
        f"{instruments.fid_name}_round_trip": fid(reference.round_trip, features),
        instruments.clip_iqa_name: clip_iqa(instruments.clip, samples).mean().item(),
    }
    if identity and domain and isinstance(instruments.features, FeatureNet):
        scores = match_of(instruments.features, features, domain, identity)
        results["identity"] = scores.mean().item()
    return results
