"""peft's LoRA layers, extended to hold LoRD adapters beside plain ones."""

from typing import Any, Literal

from peft import LoraConfig
from peft.tuners.lora.layer import Conv2d, Linear, LoraVariant
from torch import Tensor, nn

from lord.adapter.config import LordConfig
from lord.adapter.variant import LordVariant, delta_weight

# peft saves, moves, freezes and deletes what these names list. Each is a flat dictionary from
# adapter name to module: peft finds the adapter's name only at this depth of a parameter's name.
DEFENCE_PARAMETERS = ("lora_defence_B", "lora_gate_in", "lora_gate_out")


class LordLayer:
    """What a LoRA layer needs to hold LoRD adapters. Plain LoRA adapters may share the layer.

    Attributes:
        gate: ``"learned"``, or a number that replaces λ for every input.
        gate_shift: what is added to the logit of a learned gate, see `lord.adapter.gate.set_gate`.
        timesteps: an embedding (N, TIMESTEP_FEATURES) of each input's timestep, for gates that read
            it, see `lord.adapter.gate.announce_timesteps`.
        gate_logits: a list that collects the gate's logits, or None while nobody records.
    """

    adapter_layer_names = (*Linear.adapter_layer_names, *DEFENCE_PARAMETERS)
    other_param_names = (*Linear.other_param_names, "gate_granularity")

    gate: Literal["learned"] | float = "learned"
    gate_shift: float = 0.0
    timesteps: Tensor | None = None
    gate_logits: list[Tensor] | None = None

    def update_layer(self, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Add an adapter, of either kind."""
        if not hasattr(self, "gate_granularity"):
            self.gate_granularity: dict[str, str] = {}
            for name in DEFENCE_PARAMETERS:
                setattr(self, name, nn.ModuleDict())
        super().update_layer(adapter_name, *args, **kwargs)

    def resolve_lora_variant(self, *, config: LoraConfig, **kwargs: Any) -> LoraVariant | None:
        """LoRD for its own configuration; whatever peft says for any other."""
        if isinstance(config, LordConfig):
            return LordVariant()
        return super().resolve_lora_variant(config=config, **kwargs)

    def get_delta_weight(self, adapter: str) -> Tensor:
        """The change of the layer's weight that the adapter stands for, at a fixed gate."""
        if isinstance(self.lora_variant.get(adapter), LordVariant):
            return delta_weight(self, adapter)
        return super().get_delta_weight(adapter)


class LordLinear(LordLayer, Linear):
    """A linear layer with LoRA and LoRD adapters."""


class LordConv2d(LordLayer, Conv2d):
    """A 2-d convolution with LoRA and LoRD adapters."""
