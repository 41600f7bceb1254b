"""LoRD, the low-rank defense (arXiv 2602.10319): Stage 1, its file, and its use at test time.

Stage 1 trains A, B, B′ and the gate λ of `lord.adapter` on clean and attacked images of many
people or places. Stage 2 is `lord.finetune.finetune` with the Stage-1 adapter on the pipeline,
frozen. At test time there are several ways to treat the gate, see `apply_treatment`.
"""

import json
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from pydantic import Field
from torch import Tensor, nn

from lord.adapter import (
    GATES,
    LordConfig,
    activate,
    adapter_tensors,
    add_adapter,
    announce_timesteps,
    load_tensors,
    lora_layers,
    merge,
    record_gates,
    set_gate,
    unmerge,
    without_adapters,
)
from lord.files import save_tensors, write_text
from lord.finetune import (
    LEARNING_RATE,
    AdapterSettings,
    History,
    check_effect,
    encode,
    fingerprint,
    read_safetensors,
    rows_of_step,
    seeds_of_step,
    train_adapter,
)
from lord.model.diffusion import (
    check_predicts_noise,
    noised,
    predict,
    row_errors,
    training_schedule,
)
from lord.model.pipeline import check_captions, check_images
from lord.seeding import derive_seed, noise

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"

TREATMENTS = ("learned", "prior=0.01", "lambda=0", "lambda=0.5", "lambda=1", "dropped", "merged")
"""The test-time treatments that the study compares; `apply_treatment` knows every λ."""


class Stage1Settings(AdapterSettings):
    """Settings of Stage 1; the defaults suit the embedded model."""

    learning_rate: float = Field(4e-3, gt=0, description=LEARNING_RATE)
    steps: int = Field(600, ge=1, description="optimizer steps")
    batch_size: int = Field(8, ge=1, description="pairs of a clean and an attacked image per step")
    kind: Literal["lord", "lora"] = Field(
        "lord", description="LoRD, or a plain LoRA, without B′ and gate, trained on the same"
    )
    gate: Literal[GATES] = Field("sample", description="what shares one λ, and what it reads")
    gate_hidden: int = Field(16, ge=1, description="width of the gate's hidden layer")
    bce_weight: float = Field(0.1, ge=0, description="weight of the gate's cross-entropy")
    clean_target: Literal["distill", "noise"] = Field(
        "distill",
        description="what to predict on clean images: what the base model predicts, or the noise",
    )


def train_defence(
    pipeline: StableDiffusionPipeline,
    clean_images: Tensor,
    attacked_images: Tensor,
    captions: Sequence[str],
    settings: Stage1Settings | None = None,
    *,
    adapter: str = "lord",
    checkpoint: Path | None = None,
) -> History:
    """Stage 1 of LoRD: train the defence; it ends on the pipeline, active and frozen.

    Each step takes clean images and their attacked versions, with the same timestep and noise, so
    that the perturbation is all that tells them apart, and minimises

        ½ (L_clean + L_attacked) + w · BCE(λ, attacked?)

    over A, B, B′ and the gates. L_attacked = mean‖ε_θ(z_t) − ϵ‖² is the denoising loss. L_clean
    is the same with ``clean_target="noise"``, as in the paper. With ``"distill"``, the default, it
    is mean‖ε_θ(z_t) − ε_base(z_t)‖²: the defence has to leave clean images alone instead of
    learning them as well, which is meant to keep it from drifting towards the images of Stage 1.

    With ``kind="lora"`` a plain LoRA learns the same, without the last term: what remains of LoRD
    without its second branch and, on PGD-2 images, adversarial training (Madry et al., 2018).

    Args:
        clean_images, attacked_images: float, shape (N, 3, H, W) in [0, 1]; row i of the one is
            the attacked row i of the other.
        captions: one per pair.
        checkpoint: where work in progress is kept, see `lord.finetune.train_adapter`.

    Returns:
        ``"clean"``, ``"attacked"`` (L_clean, L_attacked) and, of LoRD, ``"gate"`` (BCE) at every
        step.

    Raises:
        ValueError: images or captions are not as above, or the pipeline already has an adapter.
        FloatingPointError: the loss is not finite. The adapter is then gone again.
    """
    settings = settings or Stage1Settings()
    check_predicts_noise(pipeline)
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

    def loss(unet: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        rows = rows_of_step(len(clean), settings, step)
        seeds = seeds_of_step(settings, step, "stage 1")
        pairs = torch.cat((clean[rows], attacked[rows]))
        noisy, times, target = noised(schedule, pairs, [*seeds, *seeds])
        embeddings, half = text[rows].repeat(2, 1, 1), len(rows)
        if settings.clean_target == "distill":
            with torch.no_grad(), without_adapters(pipeline.unet):
                undefended = predict(unet, noisy[:half], times[:half], embeddings[:half])
            target = torch.cat((undefended, target[half:]))
        with record_gates(pipeline.unet) if gated else nullcontext() as gates:
            prediction = predict(unet, noisy, times, embeddings)
        errors = row_errors(prediction, target)
        parts = {"clean": errors[:half].mean(), "attacked": errors[half:].mean()}
        if not gated:
            return errors.mean(), parts
        parts["gate"] = gates.cross_entropy(torch.arange(2 * half) >= half)
        return errors.mean() + settings.bce_weight * parts["gate"], parts

    name = fingerprint(settings, pipeline.unet, clean, attacked, text)
    low_rank = {
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "target_modules": settings.targets(),
    }
    if gated:
        config = LordConfig(**low_rank, gate=settings.gate, gate_hidden=settings.gate_hidden)
    else:
        config = LoraConfig(**low_rank)
    add_adapter(pipeline.unet, config, adapter, derive_seed(settings.seed, "initialisation"))
    if gated and settings.gate == "timestep":
        announce_timesteps(pipeline.unet)
    return train_adapter(pipeline, adapter, loss, settings, checkpoint, name, "LoRD, stage 1")


def save_defence(
    pipeline: StableDiffusionPipeline, folder: str | Path, adapter: str = "lord"
) -> Path:
    """Write the defence in peft's format: ``adapter_model.safetensors``, ``adapter_config.json``.

    Raises:
        ValueError: the pipeline has no adapter of that name.
    """
    folder = Path(folder)
    config = getattr(pipeline.unet, "peft_config", {}).get(adapter)
    if config is None:
        raise ValueError(f"the pipeline has no defence named {adapter!r} to save")
    save_tensors(adapter_tensors(pipeline.unet, adapter), folder / WEIGHTS_FILE, {"format": "pt"})
    settings = json.dumps(config.to_dict(), indent=2, sort_keys=True, default=sorted)
    write_text(folder / CONFIG_FILE, settings + "\n")
    return folder


def load_defence(
    pipeline: StableDiffusionPipeline, folder: str | Path, adapter: str = "lord"
) -> None:
    """Put a saved defence on the pipeline: active, frozen, in float32, with the gate it asks for.

    That is the learned one, unless its settings fix λ to a number.

    Load it before any LoRA; the two then share layers.

    Raises:
        FileNotFoundError: a file of the defence is missing.
        ValueError: a file is broken, the defence belongs to another model or has no effect, or an
            adapter is in the way. The pipeline is then as it was.
    """
    folder = Path(folder)
    tensors, _ = read_safetensors(folder / WEIGHTS_FILE)
    config = _read_config(folder / CONFIG_FILE)
    load_tensors(pipeline.unet, config, tensors, adapter, str(folder))
    if isinstance(config, LordConfig):
        set_gate(pipeline.unet, "learned" if config.fixed_gate is None else config.fixed_gate)
        if config.gate == "timestep":
            announce_timesteps(pipeline.unet)
    check_effect(pipeline.unet, adapter, str(folder))


def _read_config(path: Path) -> LoraConfig:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(settings, dict) or "lora_alpha" not in settings:
        raise ValueError(f"{path}: these are not the settings of a defence")
    try:
        return (LordConfig if "gate_hidden" in settings else LoraConfig)(**settings)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from None


def apply_treatment(
    pipeline: StableDiffusionPipeline, treatment: str, adapter: str = "lord"
) -> None:
    """Choose what becomes of the defence at test time. Any treatment can follow any other.

    ===============  ==============================================================================
    ``learned``      every layer computes λ from its input, as the paper's equation says
    ``prior=0.01``   as ``learned``, for a world where one input in a hundred is attacked and not,
                     as in stage 1, one in two, see `lord.adapter.set_gate`; a variant of ours
    ``lambda=0.5``   λ is this number everywhere: 0 closes the defence branch and keeps the
                     ordinary branch B, 1 opens it fully; any other number works as well
    ``dropped``      the Stage-1 adapter, A and B included, takes no part at all
    ``merged=0.5``   as ``lambda=0.5``, with all adapters added to the weights; ``merged`` alone is
                     ``merged=1``
    ``kept``         a defence without gate, that is a plain LoRA, stays as it was in Stage 2
    ===============  ==============================================================================

    The paper (arXiv 2602.10319) merges LoRD and LoRA with the pretrained weights and samples from
    prompts. As its λ depends on the input, no merge can equal its equation, and it names no fixed
    λ: ``merged`` takes the description literally (both branches are added to the weights), and
    ``learned`` takes the equation literally.

    Raises:
        ValueError: an unknown treatment, the pipeline has no defence, or the treatment is of a gate
            and the defence has none.
    """
    unet = pipeline.unet
    kind, gate, prior = _parse_treatment(treatment)
    configs = getattr(unet, "peft_config", {})
    if adapter not in configs:
        raise ValueError(f"{treatment}: the pipeline has no defence; load one first")
    gated = isinstance(configs[adapter], LordConfig)
    if kind != "dropped" and gated == (kind == "kept"):
        having = "has a gate" if gated else "has no gate"
        raise ValueError(f"{treatment}: not for this defence, which {having}")
    unmerge(unet)
    if gated:
        set_gate(unet, gate, prior)
    activate(unet, [name for name in configs if kind != "dropped" or name != adapter])
    if kind == "merged":
        merge(unet)


def _parse_treatment(treatment: str) -> tuple[str, Literal["learned"] | float, float]:
    """The kind of a treatment, its gate and its prior."""
    kind, _, number = treatment.partition("=")
    if treatment in ("learned", "kept", "dropped"):
        return kind, "learned", 0.5
    if treatment == "merged":
        return kind, 1.0, 0.5
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if kind == "prior" and 0 < value < 1:
        return kind, "learned", value
    if kind not in ("lambda", "merged") or not math.isfinite(value):
        raise ValueError(
            f"unknown treatment {treatment!r}: choose 'learned', 'kept', 'dropped', 'merged', "
            "'lambda=' or 'merged=' with a number, such as 'lambda=0.5', or 'prior=' with a "
            "probability"
        )
    return kind, value, 0.5


@dataclass(frozen=True)
class GateProfile:
    """What the gate makes of clean and attacked images at each level of noise.

    Attributes:
        timesteps: shape (T,).
        clean, attacked: λ, averaged over layers and tokens, shape (T, N).
    """

    timesteps: Tensor
    clean: Tensor
    attacked: Tensor

    @property
    def accuracy(self) -> float:
        """How often λ > ½ is right, over all timesteps and images, as a share."""
        right = torch.cat((self.clean <= 0.5, self.attacked > 0.5))
        return right.float().mean().item()

    @property
    def series(self) -> History:
        """Mean and quartiles of λ over images, against ``timestep``: ``clean_mean``, ``…_low``."""
        series = {"timestep": self.timesteps.tolist()}
        for name, gates in (("clean", self.clean), ("attacked", self.attacked)):
            series[f"{name}_mean"] = gates.mean(1).tolist()
            series[f"{name}_low"] = gates.quantile(0.25, dim=1).tolist()
            series[f"{name}_high"] = gates.quantile(0.75, dim=1).tolist()
        return series


@torch.no_grad()
def gate_profile(
    pipeline: StableDiffusionPipeline,
    clean_images: Tensor,
    attacked_images: Tensor,
    captions: Sequence[str],
    levels: int = 20,
    seed: int = 0,
) -> GateProfile:
    """The learned gate's λ on clean and attacked images at evenly spaced timesteps.

    An image has its own noise at every timestep, the same for its clean and attacked version.

    Args:
        clean_images, attacked_images, captions: as for `train_defence`.
        levels: how many timesteps.

    Raises:
        ValueError: bad images or captions, or the pipeline has no defence.
    """
    unet = pipeline.unet
    for images in (clean_images, attacked_images):
        check_images(images)
        check_captions(captions, images)
    schedule = training_schedule(pipeline)
    steps = schedule.config.num_train_timesteps
    timesteps = (torch.arange(levels) + 0.5).mul(steps / levels).long()
    set_gate(unet, "learned")
    profiles = []
    for images in (clean_images, attacked_images):
        latents, text = encode(pipeline, images, captions)
        rows = []
        for time in timesteps:
            seeds = [derive_seed(seed, "gate", int(time), i) for i in range(len(latents))]
            epsilon = noise(seeds, latents.shape[1:], latents.device)
            times = time.expand(len(latents)).to(latents.device)
            with record_gates(unet) as gates:
                predict(unet, schedule.add_noise(latents, epsilon, times), times, text)
            rows.append(gates.per_sample().mean(dim=(0, 1)).float().cpu())
        profiles.append(torch.stack(rows))
    return GateProfile(timesteps, *profiles)
