"""LoRD, the low-rank defense (arXiv 2602.10319): Stage 1, its file, and its use at test time.

Stage 1 trains A, B, B′ and the gate λ of `lord.adapter` on clean and attacked images of many
people or places. Stage 2 is `lord.training.lora.finetune` with the Stage-1 adapter on the pipeline,
frozen. At test time there are several ways to treat the gate, see `apply_treatment`.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from diffusers import DDPMScheduler
from peft import LoraConfig
from torch import Tensor, nn

from lord.adapter import (
    LordConfig,
    add_adapter,
    announce_timesteps,
    lora_layers,
    record_gates,
    without_adapters,
)
from lord.defences.settings import Stage1Settings
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

ADAPTER = "lord"
"""What the adapter of a defence is called on the U-Net."""


def train_defence(
    pipeline: Pipeline,
    clean_images: Tensor,
    attacked_images: Tensor,
    captions: Sequence[str],
    settings: Stage1Settings | None = None,
    *,
    checkpoint: Path | None = None,
) -> History:
    """Stage 1 of LoRD: train the defence; it ends on the pipeline, active and frozen.

    Each step takes clean images and their attacked versions, with the same timestep and noise, so
    that the perturbation is all that tells them apart, and minimises

        ½ (L_clean + L_attacked) + w · BCE(λ, attacked?)

    over A, B, B′ and the gates. L_attacked = mean‖ε_θ(z_t) − ϵ‖² is the denoising loss (of a model
    of velocities, that of v). L_clean
    is the same with ``clean_target="noise"``, as in the paper. With ``"distill"``, the default, it
    is mean‖ε_θ(z_t) − ε_base(z_t)‖²: the defence has to leave clean images alone instead of
    learning them as well, which is meant to keep it from drifting towards the images of Stage 1.

    With ``attacked_target="clean_latent"`` L_attacked asks for the clean image in the attacked one,
    see `clean_latent_target`; the paper leaves open what a perturbed sample is to become.

    With ``kind="lora"`` a plain LoRA learns the same, without the last term: what remains of LoRD
    without its second branch and, on PGD-2 images, adversarial training (Madry et al., 2018).

    Args:
        clean_images, attacked_images: float, shape (N, 3, H, W) in [0, 1]; row i of the one is
            the attacked row i of the other.
        captions: one per pair.
        checkpoint: where work in progress is kept, see `lord.training.adapters.train_adapter`.

    Returns:
        ``"clean"``, ``"attacked"`` (L_clean, L_attacked) and, of LoRD, ``"gate"`` (BCE) at every
        step.

    Raises:
        ValueError: images or captions are not as above, or the pipeline already has an adapter.
        FloatingPointError: the loss is not finite. The adapter is then gone again.
    """
    settings = settings or Stage1Settings()
    check_supported(pipeline)
    check_layers(pipeline.unet, settings)
    check_images(clean_images)
    check_images(attacked_images)
    check_captions(captions, clean_images)
    if clean_images.shape != attacked_images.shape:
        raise ValueError("attacked_images: expected one of the same size for each clean image")
    if lora_layers(pipeline.unet):
        raise ValueError("Stage 1 starts from the base model: remove the pipeline's adapters first")
    clean, text = encode(pipeline, clean_images, captions)
    attacked, _ = encode(pipeline, attacked_images, captions)
    schedule, gated = training_schedule(pipeline), settings.kind == "lord"

    def loss(unet: nn.Module, step: int, slots: range) -> tuple[Tensor, dict[str, Tensor]]:
        rows = rows_of_step(len(clean), settings, step, slots)
        seeds = seeds_of_step(settings, step, "stage 1", slots)
        pairs = torch.cat((clean[rows], attacked[rows]))
        noisy, times, epsilon = noised(schedule, pairs, [*seeds, *seeds])
        target = training_target(schedule, pairs, epsilon, times)
        given, half = text[rows].repeat(2), len(rows)
        if settings.clean_target == "distill":
            with torch.no_grad(), without_adapters(pipeline.unet):
                undefended = predict(unet, noisy[:half], times[:half], given[:half])
            target = torch.cat((undefended, target[half:]))
        with record_gates(pipeline.unet) if gated else nullcontext() as gates:
            prediction = predict(unet, noisy, times, given)
        errors = row_errors(prediction, target)
        if settings.attacked_target == "clean_latent":
            goal, weight = clean_latent_target(schedule, clean[rows], noisy[half:], times[half:])
            towards = weight * row_errors(prediction[half:], goal)
            errors = torch.cat((errors[:half], towards))
        parts = {"clean": errors[:half].mean(), "attacked": errors[half:].mean()}
        if not gated:
            return errors.mean(), parts
        parts["gate"] = gates.cross_entropy(torch.arange(2 * half) >= half)
        return errors.mean() + settings.bce_weight * parts["gate"], parts

    name = ""
    if checkpoint:
        name = fingerprint(settings, pipeline.unet, clean, attacked, *text.tensors)
    gate = {"gate": settings.gate, "gate_hidden": settings.gate_hidden}
    low_rank = settings.low_rank()
    config = LordConfig(**low_rank, **gate) if gated else LoraConfig(**low_rank)
    add_adapter(pipeline.unet, config, ADAPTER, derive_seed(settings.seed, "initialisation"))
    if gated and settings.gate == "timestep":
        announce_timesteps(pipeline.unet)
    return train_adapter(pipeline, ADAPTER, loss, settings, checkpoint, name, "LoRD, stage 1")


def clean_latent_target(
    schedule: DDPMScheduler, clean: Tensor, noisy: Tensor, times: Tensor
) -> tuple[Tensor, Tensor]:
    """What a model would predict that sees in noised latents z_t the clean latents z.

    That is the noise ϵ = (z_t − √ᾱ_t z)/√(1−ᾱ_t) (of a model of velocities, the v of z and ϵ),
    whatever z_t was made from.

    Args:
        clean, noisy: z and z_t, shape (N, C, h, w).
        times: t, shape (N,).

    Returns:
        The target, of the shape of z, and the weight min(1, (1−ᾱ_t)/ᾱ_t) of each row, shape (N,):
        an error of the noise is one of z, √((1−ᾱ_t)/ᾱ_t) times as large, so that without the
        weight the difference of two latents would count a thousandfold where there is little noise.
    """
    signal = schedule.alphas_cumprod.to(clean)[times]
    wide = signal.view(-1, 1, 1, 1)
    epsilon = (noisy - wide.sqrt() * clean) / (1 - wide).sqrt()
    weight = ((1 - signal) / signal).clamp(max=1)
    return training_target(schedule, clean, epsilon, times), weight
