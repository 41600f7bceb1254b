"""LoRD, the low-rank defense, as an adapter that peft knows like any other LoRA.

Read `variant` for the equation, `layer` for where it lives in a network, `config` for its settings,
`gate` for looking at λ and fixing it, and `attach` for adding, loading and removing adapters.
"""

from lord.adapter.attach import (
    activate,
    active_adapters,
    adapter_tensors,
    add_adapter,
    load_tensors,
    lora_layers,
    merge,
    remove_adapter,
    remove_adapters,
    unmerge,
    without_adapters,
)
from lord.adapter.config import LordConfig
from lord.adapter.gate import GateRecord, announce_timesteps, lord_layers, record_gates, set_gate
from lord.adapter.layer import LordConv2d, LordLinear
