"""How pictures are edited."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lord.names import SCHEDULERS


class EditSettings(BaseModel):
    """How a picture is edited; the defaults are those published for Stable Diffusion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
