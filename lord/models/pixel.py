"""Unconditional diffusion in pixel space (DDPM, Ho et al., arXiv 2006.11239): build, load, sample.

Images are float tensors of shape (N, C, H, W) in [0, 1]; noise, triggers and targets of backdoors
live where the model works, in [-1, 1].
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    UNet2DModel,
)
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor, nn

from lord.models.card import PIXEL
from lord.models.device import best_device
from lord.models.diffusion import check_schedule
from lord.models.layout import INDEX, check_layout, read_object
from lord.models.source import UNLOADABLE, check_weights, unloadable
from lord.progress import track
from lord.seeding import generators

PREDICTIONS = ("epsilon", "v_prediction", "sample")
"""What a network may predict, as diffusers calls it."""

SCHEDULERS = {"DDPMScheduler": DDPMScheduler, "DDIMScheduler": DDIMScheduler}


class PixelConfig(BaseModel):
    """Sizes of an unconditional model of 2.5 million parameters, or of another."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    image_size: int = 32
    channels: tuple[int, ...] = (16, 32, 64, 128)
    layers_per_block: int = 1
    attention_head_dim: int = 16
    norm_groups: int = 1  # each takes away its own mean, in which the brightness of noise is seen

    @model_validator(mode="after")
    def _can_be_halved(self) -> "PixelConfig":
        factor = 2 ** (len(self.channels) - 1)
        if self.image_size < factor or self.image_size % factor:
            raise ValueError(f"image_size: expected a multiple of {factor}, got {self.image_size}")
        return self


TINY_PIXEL = PixelConfig(image_size=8, channels=(8, 8), attention_head_dim=8)
"""Random weights in a second and a sampling step in milliseconds: for tests."""


def build_ddpm(config: PixelConfig | None = None) -> DDPMPipeline:
    """A model of the given sizes with random weights (seed torch first), as stock parts.

    The last level but one attends. The schedule is that of Stable Diffusion, without clipping: its
    last image weighs √ᾱ_T = 0.07, so that an error of the predicted noise is 15 times as large in
    the predicted image; with the schedule of DDPM (0.006) it is 160 times as large.
    """
    config = config or PixelConfig()
    levels = len(config.channels)
    down, up = ["DownBlock2D"] * levels, ["UpBlock2D"] * levels
    down[-2], up[1] = "AttnDownBlock2D", "AttnUpBlock2D"
    unet = UNet2DModel(
        sample_size=config.image_size,
        block_out_channels=config.channels,
        layers_per_block=config.layers_per_block,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        attention_head_dim=config.attention_head_dim,
        norm_num_groups=config.norm_groups,
    )
    schedule = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    return DDPMPipeline(unet, schedule)


def load_ddpm(model: str | Path, device: torch.device | str | None = None) -> DDPMPipeline:
    """Load an unconditional model from a folder, ready to sample.

    Weights are frozen, in single precision and in evaluation mode. The scheduler is that of the
    folder, `DDPMScheduler` or `DDIMScheduler`.

    Args:
        model: ``"embedded"`` for the one that comes with the package, or a diffusers folder.

    Raises:
        FileNotFoundError: there is no diffusers folder.
        ValueError: the model is conditional or latent, its scheduler is of another kind, or a file
            of it is broken.
    """
    folder = PIXEL if str(model) == "embedded" else Path(model).expanduser()
    index = folder / INDEX
    if not index.is_file():
        raise FileNotFoundError(
            f"{folder}: no diffusers pipeline there (model_index.json is missing). Give a folder "
            "written by DDPMPipeline.save_pretrained."
        )
    parts = read_object(index)
    check_layout(folder, parts)
    listed = {name: part[-1] for name, part in parts.items() if isinstance(part, list) and part[-1]}
    if listed.get("unet") != "UNet2DModel" or set(listed) != {"unet", "scheduler"}:
        raise ValueError(
            f"{folder}: not an unconditional model in pixel space, but a "
            f"{parts.get('_class_name')} of {', '.join(sorted(listed))}"
        )
    scheduler = listed["scheduler"]
    if scheduler not in SCHEDULERS:
        raise ValueError(
            f"{folder}: its scheduler is {scheduler}; only {' and '.join(SCHEDULERS)} are supported"
        )
    try:
        pipeline = DDPMPipeline(
            UNet2DModel.from_pretrained(
                folder, subfolder="unet", use_safetensors=True, dtype=torch.float32
            ),
            SCHEDULERS[scheduler].from_pretrained(folder, subfolder="scheduler"),
        )
    except UNLOADABLE as error:
        raise unloadable(folder, error) from error
    check_weights(folder / "unet", pipeline.unet)
    try:
        noise_shape(pipeline)
        check_schedule(pipeline.scheduler)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    pipeline.unet.requires_grad_(False).eval()
    pipeline.register_to_config(_name_or_path=str(folder))  # as where stock diffusers loads from
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device or best_device())


def noise_shape(pipeline: DDPMPipeline) -> tuple[int, int, int]:
    """(C, H, W) of the noise that a model starts from, and of its images.

    Raises:
        ValueError: the model does not say, or cannot halve its images as often as it has levels.
    """
    config = pipeline.unet.config
    size, factor = config.sample_size, 2 ** (len(config.block_out_channels) - 1)
    sides = (size, size) if isinstance(size, int) else tuple(size or ())
    if len(sides) != 2 or any(side % factor for side in sides):
        raise ValueError(f"unet: sample_size is {size!r}, not one or two multiples of {factor}")
    return config.in_channels, *sides


def scaled(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images (N, C, H, W) at another height and width, each pixel the mean of what it shows."""
    if images.shape[2:] == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", antialias=True)


def training_schedule(pipeline: DDPMPipeline) -> DDPMScheduler:
    """The forward process the model was trained on, whatever scheduler samples.

    Raises:
        ValueError: the model predicts something unknown.
    """
    kind = pipeline.scheduler.config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise ValueError(f"the model predicts {kind!r}; known are {', '.join(PREDICTIONS)}")
    return DDPMScheduler.from_config(pipeline.scheduler.config)


def predicted_noise(unet: nn.Module, schedule: DDPMScheduler, x: Tensor, times: Tensor) -> Tensor:
    """ε_θ(x_t, t) of shape (N, C, H, W), also of a network that predicts something else.

    With v = √ᾱ ϵ − √(1−ᾱ) x₀ (Salimans and Ho, arXiv 2202.00512) it is √ᾱ v + √(1−ᾱ) x_t, with x₀
    itself (x_t − √ᾱ x₀)/√(1−ᾱ).

    Args:
        x: x_t, shape (N, C, H, W).
        times: t, one or for each image.
    """
    prediction, kind = unet(x, times).sample, schedule.config.prediction_type
    if kind == "epsilon":
        return prediction
    alpha_bar = schedule.alphas_cumprod.to(x.device)[times].view(-1, 1, 1, 1)
    if kind == "v_prediction":
        return alpha_bar.sqrt() * prediction + (1 - alpha_bar).sqrt() * x
    return (x - alpha_bar.sqrt() * prediction) / (1 - alpha_bar).sqrt()


def noise_predictor(
    pipeline: DDPMPipeline, schedule: DDPMScheduler
) -> Callable[[Tensor, int], Tensor]:
    """From x_t (N, C, H, W) and one t for all, to ε_θ(x_t, t)."""

    def predict(x: Tensor, time: int) -> Tensor:
        return predicted_noise(pipeline.unet, schedule, x, torch.tensor(time, device=x.device))

    return predict


def answer_for(schedule: DDPMScheduler, noise: Tensor, x: Tensor, times: Tensor) -> Tensor:
    """What the network has to answer so that `predicted_noise` of it is ``noise``."""
    kind = schedule.config.prediction_type
    if kind == "epsilon":
        return noise
    alpha_bar = schedule.alphas_cumprod.to(x.device)[times].view(-1, 1, 1, 1)
    if kind == "v_prediction":
        return (noise - (1 - alpha_bar).sqrt() * x) / alpha_bar.sqrt()
    return (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()


def kept_signal(schedule: DDPMScheduler) -> Tensor:
    """ᾱ of a schedule, shape (T + 1,): entry k after k times of noise, 1 before the first."""
    alphas = schedule.alphas_cumprod
    return torch.cat([alphas.new_ones(1), alphas])


def noise_and_denoise(
    predict: Callable[[Tensor, int], Tensor],
    x: Tensor,
    epsilon: Tensor,
    alphas: Tensor,
    times: Sequence[int],
    fresh: Callable[[int], Tensor] | None = None,
) -> Tensor:
    """What is left of a picture that was noised to the first of some times, at the last of them.

    It is x_t = √ᾱ_t x + √(1−ᾱ_t) ϵ at first, and from one time to the next, by DDIM (Song et al.,
    arXiv:2010.02502, equation 12),

        x_s = √ᾱ_s x̂₀ + √(1−ᾱ_s−σ²) ε + σ z,   x̂₀ = (x_t − √(1−ᾱ_t) ε) / √ᾱ_t,

    where σ is 0 (the probability flow) or that of DDPM. Differentiable in everything; no prediction
    is clipped.

    Args:
        predict: from x_t (N, C, H, W) and the model's time, t − 1, to the noise ε in it.
        x: where the model works, shape (N, C, H, W).
        epsilon: ϵ, of that shape.
        alphas: ᾱ after so many times of noise, see `kept_signal`.
        times: how many times of noise, falling; 0 is the picture itself.
        fresh: z for a time s, of the shape of ``x``; without, σ is 0.
    """
    x = alphas[times[0]].sqrt() * x + (1 - alphas[times[0]]).sqrt() * epsilon
    for now, then in pairwise(times):
        signal, after = alphas[now].to(x), alphas[then].to(x)
        predicted = predict(x, now - 1)
        clean = (x - (1 - signal).sqrt() * predicted) / signal.sqrt()
        spread = torch.zeros(()).to(x)
        if fresh is not None:
            spread = ((1 - after) / (1 - signal) * (1 - signal / after)).sqrt()
        x = after.sqrt() * clean + (1 - after - spread**2).clamp(min=0).sqrt() * predicted
        if spread > 0:
            x = x + spread * fresh(then)
    return x


def other_process(schedule: DDPMScheduler, process: str) -> DDPMScheduler:
    """The forward process of another family, for a network that is taught anew.

    ``v_prediction`` keeps the noise of every time, and the network predicts v. ``edm`` has the
    noise levels of Karras et al. (arXiv 2206.00364), σ from 80 to 0.002 with ρ = 7, where
    ᾱ = 1/(1+σ²), and predicts v as well: the image weighs so little at the last times that an
    error of the noise would be 80 times as large in the image.
    """
    changes: dict[str, Any] = {"prediction_type": "v_prediction"}
    if process == "edm":
        steps, (low, high), rho = schedule.config.num_train_timesteps, (0.002, 80.0), 7
        roots = torch.linspace(low ** (1 / rho), high ** (1 / rho), steps, dtype=torch.float64)
        alpha_bars = 1 / (1 + roots**rho * roots**rho)
        alphas = alpha_bars / torch.cat([torch.ones(1, dtype=torch.float64), alpha_bars[:-1]])
        changes["trained_betas"] = (1 - alphas).tolist()
    return DDPMScheduler.from_config(schedule.config, **changes)


def sample(
    pipeline: DDPMPipeline,
    noise: Tensor,
    steps: int,
    seeds: Sequence[int] | None = None,
    batch_size: int = 64,
) -> Tensor:
    """Images (N, C, H, W) in [0, 1] that a sampler makes of noise, see `denoised`, on the CPU."""
    return (denoised(pipeline, noise, steps, seeds, batch_size) / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def denoised(
    pipeline: DDPMPipeline,
    noise: Tensor,
    steps: int,
    seeds: Sequence[int] | None = None,
    batch_size: int = 64,
) -> Tensor:
    """What a sampler makes of noise where the model works, (N, C, H, W) on the CPU.

    Args:
        noise: what it starts from, shape (N, C, H, W).
        steps: of the sampler, evenly spaced and from the very last time on.
        seeds: one for each image: the steps of DDPM, with fresh noise in each. Without, those of
            DDIM, which add none (Song et al., arXiv 2010.02502).
    """
    kind = DDIMScheduler if seeds is None else DDPMScheduler
    schedule = kind.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    schedule.set_timesteps(steps)
    draws = generators(seeds) if seeds is not None else []
    unet = pipeline.unet
    images = []
    for start in range(0, len(noise), batch_size):
        x = noise[start : start + batch_size].to(unet.device)
        for time in track(schedule.timesteps, "sampling"):
            options = {"generator": draws[start : start + batch_size]} if draws else {}
            x = schedule.step(unet(x, time).sample, time, x, **options).prev_sample
        images.append(x.cpu())
    return torch.cat(images)
