"""LoRA fine-tuning on photographs of one subject.

With a defence on the pipeline (see `lord.defences`) the same function is Stage 2 of LoRD: the
defence takes part in every forward pass, frozen, and only the new LoRA learns.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import torch
from peft import LoraConfig
from torch import Tensor, nn

from lord import adapter as adapters
from lord.adapter import add_adapter
from lord.models.conditioning import concatenate
from lord.models.diffusion import (
    Pipeline,
    check_supported,
    noised,
    predict,
    row_errors,
    training_schedule,
    training_target,
)
from lord.models.pipeline import check_captions, check_images
from lord.seeding import derive_seed
from lord.training.adapters import (
    History,
    check_layers,
    encode,
    fingerprint,
    rows_of_step,
    seeds_of_step,
    train_adapter,
)
from lord.training.settings import FinetuneSettings


def finetune(
    pipeline: Pipeline,
    images: Tensor,
    captions: Sequence[str],
    settings: FinetuneSettings | None = None,
    *,
    prior: tuple[Tensor, Sequence[str]] | None = None,
    adapter: str = "subject",
    checkpoint: Path | None = None,
    watch: Callable[[int], None] | None = None,
) -> History:
    """Train a new LoRA of the U-Net on images of a subject; it ends on the pipeline, active.

    Minimises mean‖ε_θ(z_t, t, c) − ϵ‖² over the LoRA's weights alone (Hu et al., arXiv 2106.09685),
    or mean‖v_θ(z_t, t, c) − v‖² of a model of velocities, with a fresh timestep and noise per image
    and step. Adapters that are active on the U-Net stay so, frozen: after
    `lord.defences.saved.load_defence` this is Stage 2 of LoRD (arXiv 2602.10319).

    Args:
        images: float, shape (N, 3, H, W) in [0, 1].
        captions: one per image.
        prior: images of the class and their captions, which keep the class as it was (Ruiz et
            al., arXiv 2208.12242). Needed exactly when ``settings.prior_weight`` is above zero.
        adapter: the name of the new LoRA.
        checkpoint, watch: where work in progress is kept, and who looks at it, see `train_adapter`.

    Returns:
        ``"loss"`` of every step, and ``"prior"`` where there is one.

    Raises:
        ValueError: images, captions or prior are not as above; the adapter's name is taken; or the
            model is not supported.
        FloatingPointError: the loss is not finite. The new LoRA is then gone again.
    """
    settings = settings or FinetuneSettings()
    loss, inputs = learning(pipeline, images, captions, settings, prior)
    name = fingerprint(settings, pipeline.unet, *inputs) if checkpoint else ""
    config = LoraConfig(**settings.low_rank())
    add_adapter(pipeline.unet, config, adapter, derive_seed(settings.seed, "initialisation"))
    return train_adapter(pipeline, adapter, loss, settings, checkpoint, name, "fine-tuning", watch)


def learning(
    pipeline: Pipeline,
    images: Tensor,
    captions: Sequence[str],
    settings: FinetuneSettings,
    prior: tuple[Tensor, Sequence[str]] | None = None,
) -> tuple[Callable[[nn.Module, int, range], tuple[Tensor, dict[str, Tensor]]], list[Tensor]]:
    """The loss of a U-Net at slots of a step of learning images, as `finetune` minimises it.

    Args:
        images, captions, prior: as there.

    Returns:
        The loss, which returns its parts as well, and the tensors that it depends on.

    Raises:
        ValueError: images, captions or prior are not as there, or the model is not supported.
    """
    check_supported(pipeline)
    check_layers(pipeline.unet, settings)
    check_images(images)
    check_captions(captions, images)
    if (prior is not None) != (settings.prior_weight > 0):
        raise ValueError("prior: give class images exactly when prior_weight is above zero")
    sources = [encode(pipeline, images, captions)]
    if prior is not None:
        class_images, class_captions = prior
        check_images(class_images)
        check_captions(class_captions, class_images)
        sources.append(encode(pipeline, class_images, class_captions))
    schedule = training_schedule(pipeline)

    def loss(unet: nn.Module, step: int, slots: range) -> tuple[Tensor, dict[str, Tensor]]:
        batch = []
        for kind, (latents, text) in zip(("subject", "prior"), sources, strict=False):
            rows = rows_of_step(len(latents), settings, step, slots)
            batch.append((latents[rows], text[rows], seeds_of_step(settings, step, kind, slots)))
        latents, text, seeds = zip(*batch, strict=True)
        clean = torch.cat(latents)
        noisy, times, epsilon = noised(schedule, clean, list(chain(*seeds)))
        prediction = predict(unet, noisy, times, concatenate(text))
        goal = training_target(schedule, clean, epsilon, times)
        errors = row_errors(prediction, goal).chunk(len(sources))
        if prior is None:
            return errors[0].mean(), {"loss": errors[0].mean()}
        parts = {"loss": errors[0].mean(), "prior": errors[1].mean()}
        return parts["loss"] + settings.prior_weight * parts["prior"], parts

    return loss, [tensor for z, text in sources for tensor in (z, *text.tensors)]


def remove_adapters(pipeline: Pipeline) -> None:
    """Take every adapter off the pipeline, which is then its base model again, to the last bit."""
    adapters.remove_adapters(pipeline.unet)
