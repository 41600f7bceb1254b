"""The forward process and the prediction, which attack, fine-tuning and defence share.

Training a latent diffusion model, attacking it and defending it all ask for ε_θ(z_t, t, c) at a
random time t and noise ϵ of an image's own. Of a model of velocities the same is asked of v_θ.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from diffusers import (
    DDPMScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor, nn

from lord.errors import SHORT
from lord.models.conditioning import Conditioning
from lord.seeding import derive_seed, noise, timesteps

Pipeline = StableDiffusionPipeline | StableDiffusionXLPipeline
"""The latent models that everything here takes."""

PREDICTIONS = ("epsilon", "v_prediction")
"""What a model may have been trained to predict: the noise ϵ, or the velocity v."""


def check_supported(pipeline: Pipeline) -> None:
    """Raise ValueError for a model that this package can neither train nor attack."""
    unet, latent = pipeline.unet.config, pipeline.vae.config.latent_channels
    if (unet.in_channels, unet.out_channels) != (latent, latent):
        raise ValueError(
            f"the U-Net takes {unet.in_channels} channels and returns {unet.out_channels}, the "
            f"autoencoder has {latent}: models that inpaint, edit or scale up pictures are not "
            "supported"
        )
    if unet.get("time_cond_proj_dim"):
        raise ValueError(
            "unet: time_cond_proj_dim is set: latent consistency models are not supported"
        )
    xl = isinstance(pipeline, StableDiffusionXLPipeline)
    for name, value in {
        "class_embed_type": None,
        "encoder_hid_dim_type": None,
        "addition_embed_type": "text_time" if xl else None,
    }.items():
        if unet.get(name) != value:
            raise ValueError(f"unet: {name} is {unet.get(name)!r}, and only {value!r} is supported")
    if xl and (pipeline.text_encoder is None or pipeline.text_encoder_2 is None):
        raise ValueError("a text encoder of SDXL is missing; its refiner is not supported")
    settings = pipeline.scheduler.config
    if "beta_schedule" not in settings:
        raise ValueError(f"{type(pipeline.scheduler).__name__}: a schedule without betas")
    check_schedule(pipeline.scheduler)
    check_text(pipeline)
    kind = settings.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise ValueError(f"the model predicts {kind!r}; supported are {' and '.join(PREDICTIONS)}")
    if settings.get("rescale_betas_zero_snr") and kind == "epsilon":
        raise ValueError(
            "the schedule ends in noise alone (rescale_betas_zero_snr), which asks for a model of "
            "velocities, and this one predicts the noise"
        )


def check_schedule(scheduler: SchedulerMixin) -> None:
    """Raise ValueError unless the forward process of a scheduler adds noise to the last.

    The share ᾱ_t of the picture has to fall from below 1, and is 0 at the last time only.
    """
    alphas = DDPMScheduler.from_config(scheduler.config).alphas_cumprod
    falls = (alphas.diff() <= 0).all() and alphas[-1] < 1
    if not (falls and (alphas[:-1] > 0).all() and alphas[-1] >= 0):  # nor if one is NaN
        betas = ", ".join(
            f"{name} {scheduler.config.get(name)!r}"
            for name in ("beta_start", "beta_end", "beta_schedule", "num_train_timesteps")
        )
        raise ValueError(f"scheduler: no schedule of noise comes of {betas}")


def check_text(pipeline: Pipeline) -> None:
    """Raise ValueError unless tokenizer, text encoder and U-Net belong together."""
    width = 0
    for suffix in ("", "_2") if isinstance(pipeline, StableDiffusionXLPipeline) else ("",):
        tokenizer = getattr(pipeline, f"tokenizer{suffix}")
        settings = getattr(pipeline, f"text_encoder{suffix}").config
        width += settings.hidden_size
        length, most = tokenizer.model_max_length, settings.max_position_embeddings
        if not isinstance(length, int) or not 2 <= length <= most:
            raise ValueError(
                f"tokenizer{suffix}: model_max_length is {SHORT.repr(length)}, and the text "
                f"encoder takes from 2 to {most} tokens"
            )
        if len(tokenizer) > settings.vocab_size:
            raise ValueError(
                f"tokenizer{suffix}: {len(tokenizer)} words, and the text encoder knows "
                f"{settings.vocab_size}"
            )
    expected = pipeline.unet.config.cross_attention_dim
    if isinstance(expected, int) and expected != width:
        raise ValueError(
            f"unet: cross_attention_dim is {expected}, and the text encoder's width is {width}"
        )


def training_schedule(pipeline: Pipeline) -> DDPMScheduler:
    """The forward process the model was trained on: DDPM's, whatever scheduler samples."""
    return DDPMScheduler.from_config(pipeline.scheduler.config)


def training_target(
    schedule: DDPMScheduler, latents: Tensor, epsilon: Tensor, times: Tensor
) -> Tensor:
    """What the model is to predict from z_t, of the shape of z: ϵ, or v = √ᾱ_t ϵ − √(1−ᾱ_t) z.

    Velocity: Salimans and Ho, arXiv:2202.00512, appendix D.
    """
    if schedule.config.prediction_type == "v_prediction":
        return schedule.get_velocity(latents, epsilon, times)
    return epsilon


def noised(
    schedule: DDPMScheduler, latents: Tensor, seeds: Sequence[int], times: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """z_t = √ᾱ_t z + √(1−ᾱ_t) ϵ, t and ϵ; one seed per row.

    z_t and ϵ are of the shape (N, C, h, w) and precision of ``latents``, which should be single or
    double.

    Args:
        times: shape (N,); uniform over the schedule where none are given.
    """
    if times is None:
        own = [derive_seed(seed, "timestep") for seed in seeds]
        times = timesteps(own, 0, schedule.config.num_train_timesteps, latents.device)
    times = times.to(latents.device)
    epsilon = noise(
        [derive_seed(seed, "noise") for seed in seeds],
        latents.shape[1:],
        latents.device,
        latents.dtype,
    )
    return schedule.add_noise(latents, epsilon, times), times, epsilon


def noised_batch(
    schedule: DDPMScheduler, clean: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """As `noised`, of rows that need no seed each: a batch of training, by one generator of it."""
    epsilon = torch.randn(clean.shape, generator=generator).to(clean.device)
    steps = schedule.config.num_train_timesteps
    times = torch.randint(steps, (len(clean),), generator=generator).to(clean.device)
    return schedule.add_noise(clean, epsilon, times), times, epsilon


def predict(unet: nn.Module, noisy: Tensor, times: Tensor | int, given: Conditioning) -> Tensor:
    """What the model predicts: ε_θ(z_t, t, c), or v_θ(z_t, t, c) of a model of velocities.

    In the precision of ``noisy``, computed in that of ``given``, the U-Net's.
    """
    options = given.options(noisy)
    prediction = unet(noisy.to(given.dtype), times, given.text, return_dict=False, **options)[0]
    return prediction.to(noisy.dtype)


def row_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """mean‖prediction − target‖² of each row, shape (N,)."""
    return F.mse_loss(prediction, target, reduction="none").mean(dim=(1, 2, 3))
