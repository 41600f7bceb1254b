"""Settings of a LoRD adapter: those of a LoRA, and two for the gate."""

from dataclasses import dataclass, field
from typing import Any

from peft import LoraConfig
from torch import nn

from lord.names import GATES


@dataclass
class LordConfig(LoraConfig):
    """A LoRA configuration whose layers carry LoRD's second branch B′ and the gate λ.

    Attributes:
        gate: what shares one λ. ``"sample"``: an image, the gate reads B·A·x averaged over its
            tokens. ``"token"``: a token (a pixel, for a convolution). ``"timestep"``: an image,
            and the gate also reads the timestep. The paper (arXiv 2602.10319) leaves this open.
        gate_hidden: width of the hidden layer of the gate's MLP.
        fixed_gate: a number that takes the place of λ when the adapter is loaded; None for λ as
            learned.

    Raises:
        ValueError: a gate of another name, or a LoRA option that LoRD does not combine with.
    """

    # The metadata makes a layer without LoRD refuse this configuration. Without it, peft would
    # silently give a plain LoRA to a layer that another adapter has already wrapped.
    gate: str = field(default="sample", metadata={"is_lora_variant": True})
    gate_hidden: int = field(default=16, metadata={"is_lora_variant": True})
    fixed_gate: float | None = field(default=None, metadata={"is_lora_variant": True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gate not in GATES:
            raise ValueError(f"gate: expected one of {', '.join(GATES)}, not {self.gate!r}")
        if self.gate_hidden < 1:
            raise ValueError(f"gate_hidden: expected a positive width, not {self.gate_hidden}")
        if self.use_dora or self.lora_bias or self.fan_in_fan_out:
            raise ValueError("LoRD does not combine with use_dora, lora_bias or fan_in_fan_out")
        from lord.adapter.layer import LordConv2d, LordLinear

        self._register_custom_module({nn.Linear: LordLinear, nn.Conv2d: LordConv2d})

    @classmethod
    def from_peft_type(cls, **kwargs: Any) -> "LordConfig":
        """Build from a saved configuration, which names its type LORA as far as peft knows."""
        return cls(**kwargs)
