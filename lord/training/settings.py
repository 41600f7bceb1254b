"""Settings of the training of adapters and of classifiers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, field_validator

from lord.errors import pattern_problem
from lord.names import CLASSIFIERS, LARGEST_RANK, OPTIMIZERS

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
LayerName = Annotated[str, Field(pattern=r"^\w+(\.\w+)*$", max_length=200)]
LEARNING_RATE = "of AdamW at the start; a cosine takes it down to 2 % of that"


class AdapterSettings(BaseModel):
    """What the training of any adapter needs. Unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rank: int = Field(4, ge=1, le=LARGEST_RANK, description="rank of the adapter: its capacity")
    alpha: float = Field(4, gt=0, description="the adapter's update is scaled by alpha / rank")
    target_modules: tuple[LayerName, ...] | str = Field(
        ATTENTION,
        min_length=1,
        description="ends of the names of adapted layers, in Python also one regular expression",
    )
    learning_rate: float = Field(1e-3, gt=0, description=LEARNING_RATE)
    steps: int = Field(300, ge=1, description="optimizer steps")
    batch_size: int = Field(8, ge=1, description="images per step")
    optimizer: Literal[OPTIMIZERS] = Field(
        "adamw", description="AdamW, or with 8 bits for its moments: less memory, a graphics card"
    )
    weight_decay: float = Field(0.01, ge=0, description="of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are cut to this")
    checkpoint_every: int = Field(
        100, ge=1, description="steps between checkpoints, where a killed run goes on"
    )
    seed: int = Field(0, description="the same seed gives the same result")

    @field_validator("target_modules")
    @classmethod
    def _is_a_pattern(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if isinstance(value, str) and (problem := pattern_problem(value)):
            raise ValueError(problem)
        return value

    def low_rank(self) -> dict[str, Any]:
        """What peft wants to know of the adapter."""
        targets = self.target_modules
        targets = targets if isinstance(targets, str) else list(targets)
        return {"r": self.rank, "lora_alpha": self.alpha, "target_modules": targets}


class FinetuneSettings(AdapterSettings):
    """Settings of one fine-tuning; the defaults suit the embedded model."""

    learning_rate: float = Field(4e-3, gt=0, description=LEARNING_RATE)
    prior_weight: float = Field(
        0.0, ge=0, description="weight of the loss on class images (prior preservation); 0: none"
    )
    train_text_encoder: bool = Field(
        False, description="let a LoRA of each text encoder learn, too, of the same rank and alpha"
    )


class ClassifierSettings(BaseModel):
    """How a classifier is trained, plainly or adversarially."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    architecture: Literal[(*CLASSIFIERS,)] = "residual"
    method: Literal["standard", "pgd", "trades"] = Field(
        "standard", description="on clean pictures, on attacked ones (PGD-AT), or on both (TRADES)"
    )
    images: PositiveInt = Field(8192, description="training pictures, as many of each class")
    steps: PositiveInt = 1500
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = Field(2e-3, description="peak of the cosine schedule")
    weight_decay: float = Field(0.02, ge=0)
    ema_decay: float = Field(0.99, gt=0, lt=1, description="of the averaged weights")
    eps: PositiveFloat = Field(8 / 255, description="l∞ budget of the attack it trains against")
    step_size: PositiveFloat = Field(2 / 255, description="of that attack")
    attack_steps: PositiveInt = Field(5, description="of that attack")
    beta: PositiveFloat = Field(6.0, description="weight of the second term of TRADES")
    checkpoint_every: PositiveInt = 100
    seed: int = 0

    @property
    def name(self) -> str:
        """Such as ``residual-trades``."""
        return f"{self.architecture}-{self.method}"
