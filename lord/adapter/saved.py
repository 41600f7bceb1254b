"""The settings of an adapter in a file, checked before a layer is built from them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from peft import LoraConfig
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from torch import Tensor

from lord.adapter.config import LordConfig
from lord.adapter.gate import LARGEST
from lord.errors import described, pattern_problem
from lord.names import GATES, LARGEST_RANK

Alpha = Annotated[float, Field(gt=0, le=1e6)]
"""As a rule of the size of the rank; a weaker adapter has a smaller one, none a negative one."""


class SavedSettings(BaseModel):
    """What must hold of some of the settings; the others are peft's."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    r: int = Field(ge=1, le=LARGEST_RANK)
    lora_alpha: Alpha
    target_modules: list[str] | str = Field(min_length=1)
    rank_pattern: dict[str, int] = {}
    alpha_pattern: dict[str, Alpha] = {}
    lora_dropout: float = Field(0.0, ge=0, le=1)
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    modules_to_save: None = None
    gate: Literal[GATES] = "sample"
    gate_hidden: int = Field(16, ge=1, le=LARGEST_RANK)
    fixed_gate: float | None = Field(None, ge=-LARGEST, le=LARGEST)

    @field_validator("target_modules")
    @classmethod
    def _is_a_pattern(cls, value: list[str] | str) -> list[str] | str:
        if isinstance(value, str) and (problem := pattern_problem(value)):
            raise ValueError(problem)
        return value


def config_of(settings: Any, tensors: Mapping[str, Tensor], source: str) -> LoraConfig:
    """The configuration that a file's settings and weights give: of a LoRD where it has a gate.

    The name of a base model in it is dropped, so that nobody looks that model up.

    Args:
        settings: what was read from JSON.
        tensors: the weights of the adapter.
        source: the file, for errors.

    Raises:
        ValueError: the settings are none, or do not fit the weights; the message names the field.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"{source}: the adapter's settings are no JSON object")
    try:
        SavedSettings(**settings)
    except (ValidationError, TypeError) as error:
        raise ValueError(f"{source}: {described(error)}") from None
    ranks = {len(weight) for name, weight in tensors.items() if name.endswith("lora_A.weight")}
    if strange := sorted({settings["r"], *settings.get("rank_pattern", {}).values()} - ranks):
        raise ValueError(f"{source}: r: {strange[0]}, but the weights have rank {sorted(ranks)}")
    kind = LordConfig if "gate_hidden" in settings else LoraConfig
    try:
        return kind(**settings | {"base_model_name_or_path": None})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{source}: settings that peft does not take ({error})") from None
