"""The equation of LoRD (arXiv 2602.10319), as a variant of peft's LoRA layer.

    h = W x + (α/r) B A x + λ (α/r) B′ A x,        λ = σ(MLP((α/r) B A x))

W is frozen. A is shared: it reads the input once for the ordinary branch B and for the defence
branch B′. The gate λ reads what the ordinary branch has to say, and opens the defence branch.
"""

from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch import Tensor, nn

# Numbers by which a gate knows the timestep.
TIMESTEP_FEATURES = 16


class LordVariant(LoraVariant):
    """Parameters, forward pass and merging of LoRD in one layer.

    In the layer, ``lora_A`` and ``lora_B`` are A and B, ``lora_defence_B`` is B′, and the MLP of
    the gate is ``lora_gate_in``, a SiLU, ``lora_gate_out``.
    """

    def supports_lora_conversion(self) -> bool:
        """False: with a gate that reads the input, no plain LoRA does the same."""
        return False

    @staticmethod
    def init(module: LoraLayer, adapter_name: str, config: Any, **kwargs: Any) -> None:
        """Add B′ = 0 and the gate. At this start a LoRD equals the plain LoRA (A, B), and λ ≈ ½."""
        branch = module.lora_B[adapter_name]
        defence = _new_branch(branch)
        nn.init.zeros_(defence.weight)
        seen = module.out_features + (TIMESTEP_FEATURES if config.gate == "timestep" else 0)
        gate_in = nn.Linear(seen, config.gate_hidden)
        gate_out = nn.Linear(config.gate_hidden, 1)
        nn.init.zeros_(gate_out.bias)
        module.lora_defence_B[adapter_name] = defence
        module.lora_gate_in[adapter_name] = gate_in
        module.lora_gate_out[adapter_name] = gate_out
        module.gate_granularity[adapter_name] = config.gate
        module._move_adapter_to_device_of_base_layer(adapter_name)

    @staticmethod
    def forward(
        module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any
    ) -> Tensor:
        """The layer's output h, given its input ``x`` and ``result`` = W x.

        Both branches are one product, [B B′]·[(α/r)Ax; λ(α/r)Ax], so that LoRD reads and writes
        the wide output once, like a plain LoRA.
        """
        branch, defence = module.lora_B[active_adapter], module.lora_defence_B[active_adapter]
        x = module.lora_dropout[active_adapter](x)
        low_rank = module.lora_A[active_adapter](x) * module.scaling[active_adapter]
        gate = module.gate
        if gate == "learned":
            gate = _learned_gate(module, active_adapter, low_rank)
        elif gate == 0:
            return result + branch(low_rank)
        inputs = torch.cat((low_rank, gate * low_rank), _channel_axis(module))
        weight = torch.cat((branch.weight, defence.weight), 1)
        product = F.conv2d if isinstance(branch, nn.Conv2d) else F.linear
        return result + product(inputs, weight)

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """W + (α/r)(B + λB′)A, with the fixed λ that `set_gate` has set.

        Raises:
            ValueError: the gate is learned, so that λ differs from input to input.
        """
        delta = module.get_delta_weight(active_adapter)
        return (orig_weight + delta).to(orig_weight.dtype)

    @staticmethod
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        """As `merge_safe`, in place."""
        orig_weight.data = LordVariant.merge_safe(module, active_adapter, orig_weight.data)

    @staticmethod
    def unmerge(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """W, up to rounding, from what `merge_safe` gave; λ must not have changed since."""
        delta = module.get_delta_weight(active_adapter)
        return (orig_weight.data - delta).to(orig_weight.dtype)


def delta_weight(module: LoraLayer, adapter_name: str) -> Tensor:
    """(α/r)(B + λB′)A for the layer's fixed λ, in the shape of the layer's weight.

    Raises:
        ValueError: the gate is learned.
    """
    if module.gate == "learned":
        raise ValueError(
            "a learned gate cannot be merged: λ depends on the input, so no single weight is equal "
            "to the layer. Fix λ first, for example set_gate(unet, 0.5)."
        )
    down = module.lora_A[adapter_name].weight
    up = (
        module.lora_B[adapter_name].weight
        + module.gate * module.lora_defence_B[adapter_name].weight
    )
    # B is 1×1 where the layer is a convolution, so the composition is a matrix product there too.
    product = up.flatten(1).float() @ down.flatten(1).float() * module.scaling[adapter_name]
    return product.reshape(module.get_base_layer().weight.shape).to(down.dtype)


def _new_branch(branch: nn.Module) -> nn.Module:
    """A layer without bias of the kind and size of B."""
    if isinstance(branch, nn.Conv2d):
        return nn.Conv2d(branch.in_channels, branch.out_channels, 1, bias=False)
    return nn.Linear(branch.in_features, branch.out_features, bias=False)


def _channel_axis(module: LoraLayer) -> int:
    """Convolutions keep the channels second, linear layers last."""
    return 1 if isinstance(module.get_base_layer(), nn.Conv2d) else -1


def _learned_gate(module: LoraLayer, adapter_name: str, low_rank: Tensor) -> Tensor:
    """λ = σ(MLP((α/r)BAx)) for ``low_rank`` = (α/r)Ax, in a shape that multiplies it.

    B is linear, so the average over a sample's tokens is taken before it, in r instead of d
    dimensions.
    """
    axis = _channel_axis(module)
    tokens = low_rank.movedim(axis, -1)
    granularity = module.gate_granularity[adapter_name]
    if granularity != "token" and tokens.ndim > 2:
        tokens = tokens.mean(tuple(range(1, tokens.ndim - 1)), keepdim=True)
    update = F.linear(tokens, module.lora_B[adapter_name].weight.flatten(1))
    if granularity == "timestep":
        known = module.timesteps.to(update)
        known = known.reshape(len(known), *[1] * (update.ndim - 2), -1)
        update = torch.cat((update, known.expand(*update.shape[:-1], -1)), -1)
    hidden = F.silu(module.lora_gate_in[adapter_name](update))
    logits = module.lora_gate_out[adapter_name](hidden)
    if module.gate_logits is not None:
        module.gate_logits.append(logits.flatten(1))
    return (logits + module.gate_shift).sigmoid().movedim(-1, axis)
