"""Looking at the gates of a network, and taking their place."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

from lord.adapter.layer import LordLayer
from lord.adapter.variant import TIMESTEP_FEATURES

LARGEST = 1000
"""A fixed λ of a user or a file is not larger; between 0 and 1 it mixes."""


def lord_layers(network: nn.Module) -> dict[str, LordLayer]:
    """The layers of ``network`` that hold a LoRD adapter, by name.

    Raises:
        ValueError: there is none.
    """
    layers = {n: m for n, m in network.named_modules() if isinstance(m, LordLayer)}
    layers = {name: layer for name, layer in layers.items() if layer.gate_granularity}
    if not layers:
        raise ValueError("the network holds no LoRD adapter: train or load a defence first")
    return layers


def set_gate(network: nn.Module, gate: Literal["learned"] | float, prior: float = 0.5) -> None:
    """Let every gate of ``network`` compute λ from its input (``"learned"``), or fix λ to a number.

    0 closes the defence branch, 1 opens it fully; other numbers, also outside [0, 1], are allowed.

    A learned λ estimates how probable it is that the input is attacked, and it has learned that
    where half of the inputs are. Elsewhere the share is another, ``prior``, and Bayes' rule shifts
    the logit (Saerens et al., 2002): λ = σ(MLP(…) + log(prior / (1 − prior))). An input that says
    nothing then gets λ = prior instead of ½.

    Raises:
        ValueError: ``gate`` is neither, ``prior`` is not between 0 and 1, or the network holds no
            LoRD adapter.
    """
    if not 0 < prior < 1:
        raise ValueError(f"prior: expected a probability between 0 and 1, not {prior}")
    if gate != "learned":
        try:
            gate = float(gate)
        except (TypeError, ValueError):
            raise ValueError(f"gate: expected 'learned' or a number, not {gate!r}") from None
        if not math.isfinite(gate):
            raise ValueError(f"gate: expected 'learned' or a finite number, not {gate}")
    layers = lord_layers(network).values()
    if any(layer.merged for layer in layers):
        raise ValueError("the adapters are merged into the weights: unmerge before changing λ")
    for layer in layers:
        layer.gate = gate
        layer.gate_shift = math.log(prior / (1 - prior))


def announce_timesteps(network: nn.Module) -> None:
    """From now on, tell the gates of ``network`` the timestep of every forward pass.

    Only gates that read the timestep need it. They get its sinusoidal embedding, as the U-Net does.
    """
    if _announce not in network._forward_pre_hooks.values():
        network.register_forward_pre_hook(_announce, with_kwargs=True)


def _announce(unet: nn.Module, args: tuple, kwargs: dict) -> None:
    sample, time = (*args, *(kwargs[k] for k in ("sample", "timestep") if k in kwargs))[:2]
    times = torch.as_tensor(time, device=sample.device).expand(len(sample))
    features = get_timestep_embedding(times, TIMESTEP_FEATURES)
    for layer in unet.modules():
        if isinstance(layer, LordLayer):
            layer.timesteps = features


@dataclass
class GateRecord:
    """What the gates computed while they were recorded.

    Attributes:
        logits: as learned, for a prior of ½; for each layer one tensor per forward pass, of shape
            (N, T): T = 1 where a sample
            shares one λ, else the number of tokens. Part of the graph, so a loss can use them.
    """

    logits: dict[str, list[Tensor]] = field(default_factory=dict)

    def per_sample(self) -> Tensor:
        """λ averaged over each layer's tokens, shape (passes, layers, N)."""
        layers = [
            torch.stack([logits.sigmoid().mean(1) for logits in passes])
            for passes in self.logits.values()
        ]
        return torch.stack(layers, 1)

    def cross_entropy(self, target: Tensor) -> Tensor:
        """Binary cross-entropy between λ and ``target`` (N,), averaged over layers and passes.

        Computed from the logits, which is exact where λ itself would round to 0 or 1.
        """
        gates = [logits for passes in self.logits.values() for logits in passes]
        # One call for all gates; the weights make each count alike, however many tokens it has.
        logits = torch.cat(gates, 1).float()
        weights = torch.cat([torch.full((g.shape[1],), 1 / g.shape[1]) for g in gates])
        total = nn.functional.binary_cross_entropy_with_logits(
            logits,
            target.to(logits)[:, None].expand_as(logits),
            weights.to(logits.device),
            reduction="sum",
        )
        return total / (len(target) * len(gates))


@contextmanager
def record_gates(network: nn.Module) -> Iterator[GateRecord]:
    """Collect the gates of every forward pass in the block; nothing is computed twice.

    Only learned gates leave a record: a fixed λ has no logit.

        with record_gates(unet) as gates:
            unet(latents, timesteps, embeddings)
        gates.per_sample()          # λ, shape (1, layers, N)
    """
    record = GateRecord()
    layers = lord_layers(network)
    for name, layer in layers.items():
        layer.gate_logits = record.logits.setdefault(name, [])
    try:
        yield record
    finally:
        for layer in layers.values():
            layer.gate_logits = None
