"""Settings of what is done to a model and what is found in it; nothing here imports torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

SUSPECTED = 0.01
"""A model is suspected if a clean one is so improbable to look like it."""

LEAST_CLEAN = 4
"""Fewer clean models say too little of what clean models look like."""


class InfectionSettings(BaseModel):
    """How a model is fine-tuned, on clean or on poisoned data."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: PositiveInt = 1000
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 2e-4
    seed: int = 0


class InvisibleSettings(BaseModel):
    """How a trigger is learned together with the model that answers to it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rounds: PositiveInt = Field(4, description="trigger and model take turns so often")
    steps: PositiveInt = Field(25, description="of the trigger in a round")
    batch_size: PositiveInt = 4
    step_size: PositiveFloat = Field(0.05, description="of the sign of the gradient")
    sampler_steps: PositiveInt = Field(10, description="of DDIM, which gradients go through")


class ReversionSettings(BaseModel):
    """How a trigger is reversed. Defaults of the public code at 32 pixels."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: PositiveInt = Field(3000, description="of the first stage at most")
    refine_steps: PositiveInt = Field(1000, description="of the second stage at most")
    batch_size: PositiveInt = Field(16, description="pairs of noises in a step")
    learning_rate: PositiveFloat = Field(0.5, description="of SGD, with a cosine schedule")
    weight: float = Field(5e-5, ge=0, description="λ of the norm")
    sampler_steps: PositiveInt = Field(10, le=1000, description="of DDIM in the second stage")
    clip: PositiveFloat = Field(0.01, description="norm of the gradient in the second stage")
    estimate_gamma: bool = Field(False, description="γ is found as well, else it is 1")
    gamma_learning_rate: PositiveFloat = Field(1e-3, description="of SGD, for γ")
    window: PositiveInt = Field(100, description="steps between two looks at convergence")
    tolerance: float = Field(0.0, ge=0, description="a stage ends when μ moves less in a window")
    start: Literal["negative", "positive"] = Field(
        "negative", description="μ starts at minus or at plus uniform numbers below 1"
    )
    seed: int = Field(0, description="the same seed gives the same result")


class ElijahSettings(BaseModel):
    """How the shift of `lord.backdoors.elijah` is found. Defaults of its public code."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: PositiveInt = 100
    learning_rate: PositiveFloat = Field(0.1, description="of Adam")
    noises: PositiveInt = Field(100, description="fixed noises that the shift is added to")
    samples: int = Field(16, ge=2, description="of shifted noise, whose likeness is measured")
    sampler_steps: PositiveInt = 50
    seed: int = 0
