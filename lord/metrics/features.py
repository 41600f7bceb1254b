"""The feature network: what the embedded FID and the identity match look through.

A Fréchet distance is as good as its features. Those of a network that only tells attributes apart
ignore the very artefacts that poisoned fine-tuning leaves, so this one learns to recognise the
attributes *and* what was done to an image: kind and severity of its degradation. Its 64 features
are standardised over the training images, so distances are in units of their variance.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lord.data.subjects import DOMAINS
from lord.errors import SHORT
from lord.files import replacing_together, write_text
from lord.metrics.degradations import KINDS
from lord.metrics.pool import Pool, attribute_names, cached_pool, training_view
from lord.metrics.training import (
    TrainingSettings,
    checkpoint_path,
    fit,
    half_precision,
    held_out_views,
    network_in,
)
from lord.models.layout import read_object
from lord.models.memory import BATCH
from lord.models.source import check_numbers
from lord.seeding import derive_seed
from lord.tensors import save_tensors

ASSETS = Path(__file__).parents[1] / "assets" / "features"
NUM_FEATURES = 64
LARGEST_SIDE = 4096
STATISTICS = 50  # batches behind the final batch normalisation

Attributes = Mapping[str, Mapping[str, tuple[str, ...]]]


class _Residual(nn.Module):
    """Two 3 × 3 convolutions around a skip connection; halves the resolution if asked to."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip = nn.Identity()
        if stride > 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.skip = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, hidden: Tensor) -> Tensor:
        return F.silu(self.skip(hidden) + self.body(hidden))


class FeatureNet(nn.Module):
    """A small residual network: images to 64 features, and features to class scores.

    Args:
        attributes: per domain, the values of each categorical attribute.
        image_size: height and width the network works at; other images are resized to it.
        width: channels of the first stage, doubled in each of the two following ones.
    """

    num_features = NUM_FEATURES

    def __init__(self, attributes: Attributes, image_size: int = 64, width: int = 32):
        super().__init__()
        self.attributes = {domain: dict(names) for domain, names in attributes.items()}
        self.image_size = image_size
        self.width = width
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(2),  # keeps every pixel while halving the resolution
            nn.Conv2d(12, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
        )
        self.stages = nn.Sequential(
            _Residual(width, width, 1),
            _Residual(width, 2 * width, 2),
            _Residual(2 * width, 4 * width, 2),
            _Residual(4 * width, 4 * width, 1),
        )
        # Averages measure textures, maxima find small things such as glasses.
        self.project = nn.Linear(8 * width, NUM_FEATURES)
        self.standardise = nn.BatchNorm1d(NUM_FEATURES, affine=False)
        self.sizes = {
            (domain, name): len(values)
            for domain, names in self.attributes.items()
            for name, values in names.items()
        }
        self.heads = nn.Linear(NUM_FEATURES, sum(self.sizes.values()) + len(KINDS) + 1)

    @property
    def device(self) -> torch.device:
        return self.project.weight.device

    def forward(self, images: Tensor) -> Tensor:
        """Features, float32, shape (N, 64), of images (N, 3, H, W) in [0, 1]."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            images = F.interpolate(
                images, (self.image_size, self.image_size), mode="bicubic", antialias=True
            ).clamp(0, 1)
        pixels = (images * 2 - 1).contiguous(memory_format=torch.channels_last)
        hidden = self.stages(self.stem(pixels))
        pooled = torch.cat([hidden.mean((2, 3)), hidden.amax((2, 3))], 1)
        return self.standardise(self.project(pooled).float())

    def classify(self, features: Tensor) -> dict[tuple[str, str], Tensor]:
        """Scores from features (N, 64).

        Returns:
            Logits (N, values) under ``(domain, attribute)``, logits (N, kinds) under
            ``("degradation", "kind")`` and a logit (N, 1) under ``("degradation", "severity")``.
        """
        sizes = self.sizes | {("degradation", "kind"): len(KINDS), ("degradation", "severity"): 1}
        logits = self.heads(F.silu(features)).float()
        return dict(zip(sizes, logits.split(list(sizes.values()), 1), strict=True))


class FeatureSettings(TrainingSettings):
    """Training of the feature network."""

    width: int = 32


class FeatureObjective(nn.Module):
    """Cross-entropies of kind and of the mean attribute, and of severity as a soft label.

    Attributes are asked for on degraded images too, so their probabilities sink as an image loses
    what shows them.
    """

    def __init__(self, network: FeatureNet):
        super().__init__()
        self.network = network

    def forward(
        self, images: Tensor, kinds: Tensor, severities: Tensor, attributes: Tensor
    ) -> Tensor:
        """The loss of one batch; ``attributes`` (N, A) holds -1 for those of other domains."""
        logits = self.network.classify(self.network(images))
        named = sum(
            F.cross_entropy(logits[key], column, ignore_index=-1, reduction="sum")
            for key, column in zip(self.network.sizes, attributes.unbind(1), strict=True)
        )
        kind = F.cross_entropy(logits["degradation", "kind"], kinds)
        severity = F.binary_cross_entropy_with_logits(
            logits["degradation", "severity"][:, 0], severities
        )
        return named / (attributes >= 0).sum() + kind + severity


@torch.inference_mode()
def accuracies(network: FeatureNet, pool: Pool) -> dict[str, Any]:
    """Held-out accuracies on a pool that was not trained on.

    Returns:
        ``attributes``: per domain and attribute, on clean images, rendered and round trip alike;
        ``degradation``: over clean and degraded images; ``degradation_of_kind``: for each kind;
        ``severity_error``: mean absolute error of the severity.
    """
    hits: dict[str, dict[str, float]] = {domain: {} for domain in DOMAINS}
    kinds, predicted, severities, estimates, answers = [], [], [], [], []
    for view in held_out_views(pool):
        logits = network.classify(network(view.images.to(network.device)))
        kinds.append(view.kinds)
        severities.append(view.severities)
        predicted.append(logits["degradation", "kind"].argmax(1).cpu())
        estimates.append(logits["degradation", "severity"][:, 0].sigmoid().cpu())
        answers.append(torch.stack([logits[key].argmax(1) for key in attribute_names()], 1).cpu())
    kind, guess, answer = torch.cat(kinds), torch.cat(predicted), torch.cat(answers)
    for column, (domain, name) in enumerate(attribute_names()):
        known = (pool.attributes[:, column] >= 0) & (kind == 0)
        right = answer[known, column] == pool.attributes[known, column]
        hits[domain][name] = round(right.float().mean().item(), 4)
    of_kind = {
        name: round((guess[kind == index] == index).float().mean().item(), 4)
        for index, name in enumerate(KINDS)
    }
    error = (torch.cat(severities) - torch.cat(estimates)).abs().mean()
    return {
        "attributes": hits,
        "degradation": round((guess == kind).float().mean().item(), 4),
        "degradation_of_kind": of_kind,
        "severity_error": round(error.item(), 4),
    }


@torch.inference_mode()
def recognise(
    network: FeatureNet, images: Tensor, domain: str, batch_size: int = BATCH
) -> dict[str, Tensor]:
    """The most likely value of every attribute, each of shape (N,), on the CPU.

    Args:
        network: the attribute network.
        images: shape (N, 3, H, W), in [0, 1].
        domain: whose attributes are read.

    Raises:
        ValueError: an unknown domain.
    """
    if domain not in network.attributes:
        raise ValueError(f"unknown domain {domain!r}: choose one of {list(network.attributes)}")
    batches = [
        network.classify(network(batch.to(network.device))) for batch in images.split(batch_size)
    ]
    return {
        name: torch.cat([logits[domain, name].argmax(1).cpu() for logits in batches])
        for name in network.attributes[domain]
    }


def train_features(
    pipeline: StableDiffusionPipeline,
    out: str | Path,
    work: str | Path,
    settings: FeatureSettings | None = None,
) -> FeatureNet:
    """Train the feature network on renders of both domains and save it.

    Run again after an interruption, it goes on where it was.

    Args:
        pipeline: whose VAE makes the round trips.
        out: folder for ``model.safetensors`` (half precision) and ``config.json``, which also
            records the settings and the held-out accuracies.
        work: folder for the rendered pool and the checkpoint. `train_clip` can share it.
        settings: the defaults take some minutes on two CPU cores.
    """
    settings = settings or FeatureSettings()
    work = Path(work)
    pool = cached_pool(pipeline, "train", settings.images_per_domain, settings.image_size, work)
    torch.manual_seed(derive_seed("features", settings.seed))
    attributes = {domain: module.ATTRIBUTES for domain, module in DOMAINS.items()}
    network = FeatureNet(attributes, settings.image_size, settings.width)
    network = network.to(memory_format=torch.channels_last)

    def draw(seed: int) -> tuple[Tensor, ...]:
        view = training_view(pool, seed, settings.batch_size)
        return view.images, view.kinds, view.severities, pool.attributes[view.rows]

    checkpoint = checkpoint_path(work, "features", settings)
    fit(FeatureObjective(network), draw, settings, checkpoint, "Feature network")
    # The averaged weights need batch statistics of their own.
    seeds = [derive_seed("statistics", settings.seed, number) for number in range(STATISTICS)]
    update_bn((draw(seed)[0] for seed in seeds), network, device=network.device)
    network.cpu().eval()
    held_out = cached_pool(
        pipeline, "held-out", settings.held_out_per_domain, settings.image_size, work
    )
    network.half().float()  # the accuracies belong to what is stored
    config = {
        "image_size": network.image_size,
        "width": network.width,
        "attributes": network.attributes,
        "kinds": KINDS,
        "settings": settings.model_dump(),
        "held_out": accuracies(network, held_out),
    }
    with replacing_together(out) as new:
        save_tensors(half_precision(network), new / "model.safetensors")
        write_text(new / "config.json", json.dumps(config, indent=2) + "\n")
    checkpoint.unlink(missing_ok=True)
    return network


def load_features(folder: str | Path = ASSETS, device: torch.device | str = "cpu") -> FeatureNet:
    """The feature network of a folder, by default the one shipped, frozen, in evaluation mode.

    Raises:
        FileNotFoundError: the folder holds no network.
        ValueError: the network was trained for other attributes or degradations, or is broken.
    """
    folder = Path(folder)
    with network_in(folder, "feature network", "train_features"):
        config = read_object(folder / "config.json")
        if tuple(config["kinds"]) != KINDS:
            raise ValueError(f"it knows degradations {config['kinds']}, not {KINDS}")
        attributes = {
            domain: {name: tuple(values) for name, values in names.items()}
            for domain, names in config["attributes"].items()
        }
        size = config["image_size"]
        if type(size) is not int or not 16 <= size <= LARGEST_SIDE:
            raise ValueError(f"config.json: image_size: {SHORT.repr(size)}")
        network = FeatureNet(attributes, size, config["width"])
        network.load_state_dict(load_file(folder / "model.safetensors"))
        for name, weight in network.state_dict().items():
            check_numbers(weight, name)
    return network.float().to(device).eval().requires_grad_(False)
