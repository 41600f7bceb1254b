"""Settings of stage 1."""

from typing import Literal

from pydantic import Field

from lord.names import GATES, LARGEST_RANK
from lord.training.settings import LEARNING_RATE, AdapterSettings


class Stage1Settings(AdapterSettings):
    """Settings of Stage 1; the defaults suit the embedded model."""

    learning_rate: float = Field(4e-3, gt=0, description=LEARNING_RATE)
    steps: int = Field(600, ge=1, description="optimizer steps")
    batch_size: int = Field(8, ge=1, description="pairs of a clean and an attacked image per step")
    kind: Literal["lord", "lora"] = Field(
        "lord", description="LoRD, or a plain LoRA, without B′ and gate, trained on the same"
    )
    gate: Literal[GATES] = Field(
        "sample",
        description="what shares one λ: an image, a token, or an image at a timestep, which the "
        "gate then reads too",
    )
    gate_hidden: int = Field(
        16, ge=1, le=LARGEST_RANK, description="width of the gate's hidden layer"
    )
    bce_weight: float = Field(0.1, ge=0, description="weight of the gate's cross-entropy")
    clean_target: Literal["distill", "noise"] = Field(
        "distill",
        description="what to predict on clean images: what the base model predicts, or the noise",
    )
    attacked_target: Literal["noise", "clean_latent"] = Field(
        "noise",
        description="what to predict on attacked images: the noise, or what makes the latent of "
        "the clean image of them",
    )
