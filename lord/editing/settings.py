"""How pictures are edited."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lord.names import SCHEDULERS


class EditSettings(BaseModel):
    """How a picture is edited; the defaults are those published for Stable Diffusion."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(15, ge=1, description="of the sampler, from pure noise on")
    strength: float = Field(
        0.7, gt=0, le=1, description="of variation: how much of the schedule the picture is noised"
    )
    guidance_scale: float = Field(
        7.5, ge=1, description="of classifier-free guidance; 1: none, and half the work"
    )
    scheduler: Literal[SCHEDULERS] = Field("ddim", description="the sampler")
    noise_level: int = Field(
        20, ge=0, description="of super-resolution: the time to which the small picture is noised"
    )


class AdaptationSettings(BaseModel):
    """How a model learns to inpaint or to upscale."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    pool: int = Field(4096, ge=1, description="rendered pictures of each domain")
    steps: int = Field(3000, ge=1, description="optimizer steps")
    batch_size: int = Field(16, ge=1, description="pictures in each step")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the cosine schedule")
    rank: int = Field(24, ge=1, description="of what is learned beside the model's own weights")
    caption_dropout: float = Field(0.1, ge=0, le=1, description="share of empty captions")
    max_loss_weight: float = Field(10.0, gt=0, description="of an error, which counts 1/ᾱ_t")
    max_noise_level: int = Field(350, ge=1, description="times to which small pictures are noised")
    checkpoint_every: int = Field(250, ge=1, description="steps between checkpoints")
    seed: int = Field(0, description="the same seed gives the same result")
