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
from lord.models.conditioning import Conditioning, concatenate
from lord.models.diffusion import (
    Pipeline,
    check_supported,
    noised,
    predict,
    row_errors,
    training_schedule,
    training_target,
)
from lord.models.memory import spares_memory, text_encoders
from lord.models.pipeline import check_captions, check_images, embed_prompts
from lord.processes import processes
from lord.seeding import derive_seed
from lord.training.adapters import (
    History,
    Watch,
    check_layers,
    encode,
    fingerprint,
    rows_of_step,
    seeds_of_step,
    train_adapter,
)
from lord.training.settings import FinetuneSettings

KINDS = ("subject", "prior")
"""What images show, in the order in which a step takes them."""

TEXT_ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
"""The layers of a text encoder that learn, where one does."""


def finetune(
    pipeline: Pipeline,
    images: Tensor,
    captions: Sequence[str],
    settings: FinetuneSettings | None = None,
    *,
    prior: tuple[Tensor, Sequence[str]] | None = None,
    adapter: str = "subject",
    checkpoint: Path | None = None,
    watchers: Sequence[Watch] = (),
) -> History:
    """Train a new LoRA of the U-Net on images of a subject; it ends on the pipeline, active.

    Minimises mean‖ε_θ(z_t, t, c) − ϵ‖² over the LoRA's weights alone (Hu et al., arXiv 2106.09685),
    or mean‖v_θ(z_t, t, c) − v‖² of a model of velocities, with a fresh timestep and noise per image
    and step. Adapters that are active on the U-Net stay so, frozen: after
    `lord.defences.saved.load_defence` this is Stage 2 of LoRD (arXiv 2602.10319).

    With ``settings.train_text_encoder`` a LoRA of each text encoder learns with it.

    Args:
        images: float, shape (N, 3, H, W) in [0, 1].
        captions: one per image.
        prior: images of the class and their captions, which keep the class as it was (Ruiz et
            al., arXiv 2208.12242). Needed exactly when ``settings.prior_weight`` is above zero.
        adapter: the name of the new LoRA.
        checkpoint, watchers: where work in progress is kept, who looks at it, see `train_adapter`.

    Returns:
        ``"loss"`` of every step, and ``"prior"`` where there is one.

    Raises:
        ValueError: images, captions or prior are not as above; the adapter's name is taken; or the
            model is not supported; or text encoders are to learn on a pipeline that spares memory,
            or in several processes.
        FloatingPointError: the loss is not finite. The new LoRA is then gone again.
    """
    settings = settings or FinetuneSettings()
    check_text_encoders(pipeline, settings)
    loss, inputs = learning(pipeline, images, captions, settings, prior)
    name = fingerprint(settings, pipeline.unet, *inputs) if checkpoint else ""
    shape = settings.low_rank()
    config = LoraConfig(**shape)
    add_adapter(pipeline.unet, config, adapter, derive_seed(settings.seed, "initialisation"))
    learners = text_encoders(pipeline) if settings.train_text_encoder else []
    for number, encoder in enumerate(learners):
        config = LoraConfig(**shape | {"target_modules": TEXT_ATTENTION})
        add_adapter(encoder, config, adapter, derive_seed(settings.seed, "text encoder", number))
    return train_adapter(
        pipeline, adapter, loss, settings, checkpoint, name, "fine-tuning", watchers
    )


def check_text_encoders(pipeline: Pipeline, settings: FinetuneSettings) -> None:
    """Raise ValueError if text encoders are to learn where they cannot, see `finetune`."""
    if settings.train_text_encoder and spares_memory(pipeline):
        raise ValueError(
            "train_text_encoder: prompts are encoded once where memory is spared; "
            "take --memory normal"
        )
    if settings.train_text_encoder and processes() > 1:
        raise ValueError("train_text_encoder: works in one process, not in several")


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
    shown = [(images, captions)]
    if prior is not None:
        class_images, class_captions = prior
        check_images(class_images)
        check_captions(class_captions, class_images)
        shown.append((class_images, class_captions))
    sources = [encode(pipeline, *one) for one in shown]
    schedule = training_schedule(pipeline)

    def told(kind: int, rows: list[int]) -> Conditioning:
        latents, text = sources[kind]
        if not settings.train_text_encoder:
            return text[rows]
        prompts = [shown[kind][1][row] for row in rows]
        return embed_prompts(pipeline, prompts).to(latents.device, text.dtype)

    def loss(unet: nn.Module, step: int, slots: range) -> tuple[Tensor, dict[str, Tensor]]:
        batch = []
        for number, (latents, _) in enumerate(sources):
            rows, kind = rows_of_step(len(latents), settings, step, slots), KINDS[number]
            seeds = seeds_of_step(settings, step, kind, slots)
            batch.append((latents[rows], told(number, rows), seeds))
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
    for part in (pipeline.unet, *text_encoders(pipeline)):
        adapters.remove_adapters(part)
