"""Whether a backdoor works, and whether a model is still as good as it was."""

import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline
from torch import Tensor

from lord.backdoors.drawings import draw_target
from lord.backdoors.infect import success, triggered
from lord.backdoors.poison import Backdoor
from lord.data.subjects import sample_domain
from lord.experiments.terd.chain.suspects import plain_noises
from lord.metrics.features import load_features
from lord.metrics.fid import extract, fid
from lord.models.card import EMBEDDED
from lord.models.pixel import sample
from lord.seeding import derive_seed
from lord.study.context import Context
from lord.study.experiment import Cell, Settings


def judge(
    context: Context, pipeline: DDPMPipeline, backdoor: Backdoor | None, cell: Cell
) -> tuple[dict[str, float], Tensor, Tensor]:
    """Numbers of a model, its samples of plain noise, and those of triggered noise if there are."""
    judging = cell.settings.judging
    size = pipeline.unet.config.sample_size
    plain = sample(pipeline, plain_noises("plain", judging.clean, pipeline), judging.clean_steps)
    reference = reference_features(context, cell.settings, cell.settings.domain, size)
    metrics = {"fid_pixel": fid(reference, features_of(context, plain))}
    if backdoor is None:
        return metrics, plain, torch.empty(0)
    target = draw_target(cell.settings.suspect.target, size)
    noises = plain_noises("triggered", judging.triggered, pipeline)
    seeds = [derive_seed("triggered", "steps", k) for k in range(judging.triggered)]
    drawn = triggered(pipeline, backdoor, noises, judging.triggered_steps, seeds)
    metrics |= success(drawn, target, judging.threshold)
    metrics["false_success"] = success(plain, target, judging.threshold)["success"]
    metrics["norm"] = backdoor.mu.norm().item()
    return metrics, plain, drawn


def features_of(context: Context, images: Tensor) -> Tensor:
    """Features (N, D) of images, enlarged to the size that the network for FID knows."""
    network = context.hold(load_features, EMBEDDED.parent / "features")
    return extract(network, F.interpolate(images, (64, 64), mode="bilinear"))


def reference_features(context: Context, settings: Settings, domain: str, size: int) -> Tensor:
    """Features (N, D) of clean renders that no model has seen, computed once."""
    count = settings.judging.references
    asked = {"domain": domain, "size": size, "count": count, "judges": settings.judges}

    def make() -> dict[str, Tensor]:
        images = sample_domain(domain, "evaluation", range(count), size).images
        return {"features": features_of(context, images)}

    components = ("step:renderer", "metric:fid")
    return context.once("pixel-references", asked, components, make)["features"]
