"""Trained classifiers, the pictures they are tested on, and purifiers in front of them."""

from collections.abc import Sequence

import torch
from diffusers import DDPMPipeline
from torch import Tensor

from lord.attacks.evasion.victim import Victim
from lord.data.classes import CLASSES, Labelled, labelled
from lord.models.classifiers import Classifier, build_classifier
from lord.models.pixel import load_ddpm
from lord.purifiers.pixel_diffusion import purify_pixels
from lord.seeding import derive_seed
from lord.study.context import Context
from lord.study.experiment import Settings
from lord.training.classifiers import train_classifier
from lord.training.settings import ClassifierSettings


def denoiser_of(context: Context, settings: Settings) -> DDPMPipeline:
    """The unconditional model of a cell."""
    return context.hold(load_ddpm, settings.model)


def pictures(context: Context, settings: Settings, split: str, count: int) -> Labelled:
    """The first pictures of a split, of the model's size, rendered once."""
    size = denoiser_of(context, settings).unet.config.sample_size
    asked = {"domain": settings.domain, "split": split, "count": count, "size": size}

    def make() -> dict[str, Tensor]:
        found = labelled(settings.domain, split, range(count), size)
        return {"images": (found.images * 255).round().byte(), "labels": found.labels}

    kept = context.once("labelled", asked, ("step:renderer", "step:labels"), make)
    return Labelled(kept["images"].float() / 255, kept["labels"], classes_of(settings))


def classifier_of(context: Context, settings: Settings, how: ClassifierSettings) -> Classifier:
    """A classifier of a cell's domain, trained once."""
    pipeline = denoiser_of(context, settings)
    size = pipeline.unet.config.sample_size
    options = how.model_dump(mode="json", exclude_defaults=True)
    asked = {"domain": settings.domain, "size": size, "how": options}
    components = ("step:renderer", "step:labels", f"classifier:{how.architecture}")
    path = context.path("classifier", asked, components)

    def make() -> dict[str, Tensor]:
        pool = pictures(context, settings, "train", how.images)
        checkpoint = path.with_suffix(".checkpoint")
        network = train_classifier(pool, how, checkpoint)
        checkpoint.unlink(missing_ok=True)
        return network.state_dict()

    network = build_classifier(how.architecture, size, classes=classes_of(settings))
    network.load_state_dict(context.once("classifier", asked, components, make))
    return network.to(pipeline.device).eval().requires_grad_(False)


def victim_of(context: Context, settings: Settings) -> Victim:
    """The defence of a cell: its classifier, behind its purifier if it has one."""
    classifier = classifier_of(context, settings, settings.classifier)
    if settings.purifier is None:
        return Victim(classifier)
    pipeline, auxiliary = denoiser_of(context, settings), None
    if settings.auxiliary is not None:
        auxiliary = classifier_of(context, settings, settings.auxiliary)

    def purify(images: Tensor, seeds: Sequence[int]) -> Tensor:
        return purify_pixels(pipeline, images, seeds, settings.purifier, auxiliary)

    return Victim(classifier, purify, settings.known)


def tested(context: Context, settings: Settings) -> tuple[Tensor, Tensor, list[int]]:
    """The test pictures of a cell (N, C, H, W), their labels (N,), and a seed for each."""
    found = pictures(context, settings, "test", settings.images)
    device = denoiser_of(context, settings).device
    seeds = [derive_seed("purification", k) for k in range(settings.images)]
    return found.images.to(device), found.labels.to(device), seeds


def classes_of(settings: Settings) -> int:
    """How many classes there are."""
    return len(CLASSES[settings.domain])


@torch.no_grad()
def accuracy(classifier: Classifier, data: Labelled, batch_size: int = 256) -> float:
    """The share of pictures that a classifier tells right."""
    device = next(classifier.parameters()).device
    right = [
        classifier(images.to(device)).argmax(1).cpu() == labels
        for images, labels in zip(
            data.images.split(batch_size), data.labels.split(batch_size), strict=True
        )
    ]
    return torch.cat(right).float().mean().item()
