"""One resumable training loop for every network of the study.

A step draws all its random numbers from its own index, so a loop that was killed goes on from its
last checkpoint and ends with the weights of an uninterrupted run.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from lord.files import save_tensors
from lord.progress import track


def cosine_learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up to ``peak``, then a cosine down to 2 % of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


@dataclass(frozen=True)
class TrainingRun:
    """The loss of every step since the (re)start, and the seconds of all starts together."""

    losses: list[float]
    seconds: float


def train(
    model: nn.Module,
    loss: Callable[[nn.Module, int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float = 0.01,
    warmup: int = 100,
    max_grad_norm: float = 1.0,
    ema_decay: float | None = None,
    mixed_precision: str = "no",
    checkpoint: Path | None = None,
    checkpoint_every: int = 200,
    description: str = "training",
    device: torch.device | None = None,
) -> TrainingRun:
    """Minimise ``loss(model, step)`` over the parameters that require gradients, with AdamW.

    With ``ema_decay`` the model ends with the exponential moving average of its weights.
    ``checkpoint`` (a safetensors file) makes the run resumable; it is removed at the end by the
    caller, once the result is saved.

    Args:
        device: where the model is and stays; without, it goes where Accelerate computes.

    Raises:
        FloatingPointError: the loss is not finite, or a weight at the end.
    """
    # Accelerate keeps the first precision of a process for good unless told to forget it.
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=mixed_precision, device_placement=device is None)
    model.to(device or accelerator.device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    ema = EMAModel(parameters, decay=ema_decay) if ema_decay else None
    start, seconds = 0, 0.0
    if checkpoint and checkpoint.exists():
        start, seconds = _restore(checkpoint, parameters, optimizer, ema)
    clock = time.perf_counter() - seconds
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    wrapped.train()
    losses = []
    for step in track(range(start, steps), description, total=steps, completed=start):
        for group in optimizer.param_groups:
            group["lr"] = cosine_learning_rate(step, steps, learning_rate, warmup)
        with accelerator.autocast():
            value = loss(wrapped, step)
        if not torch.isfinite(value):
            raise FloatingPointError(
                f"{description}: the loss became {value.item()} at step {step}; "
                "lower the learning rate, or check the images for broken values"
            )
        accelerator.backward(value)
        accelerator.clip_grad_norm_(parameters, max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if ema:
            ema.step(parameters)
        losses.append(value.item())
        done = step + 1
        if checkpoint and done % checkpoint_every == 0 and accelerator.is_main_process:
            state = {"step": done, "seconds": time.perf_counter() - clock}
            _save(checkpoint, state, parameters, optimizer, ema)
    if ema:
        ema.copy_to(parameters)
    if not all(torch.isfinite(weight).all() for weight in parameters):
        raise FloatingPointError(f"{description}: weights are not finite; lower the learning rate")
    model.eval()
    return TrainingRun(losses, time.perf_counter() - clock)


def _save(
    path: Path,
    state: dict[str, float],
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ema: EMAModel | None,
) -> None:
    tensors = {f"parameter.{i}": parameter for i, parameter in enumerate(parameters)}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": value for name, value in moments.items()}
    if ema:
        tensors |= {f"ema.{i}": value for i, value in enumerate(ema.shadow_params)}
        state["ema_steps"] = ema.optimization_step
    save_tensors(tensors, path, metadata={"state": json.dumps(state)})


def _restore(
    path: Path,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ema: EMAModel | None,
) -> tuple[int, float]:
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
    tensors = load_file(path)
    moments: dict[int, dict[str, Tensor]] = {}
    with torch.no_grad():
        for i, parameter in enumerate(parameters):
            parameter.copy_(tensors[f"parameter.{i}"])
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".")
            moments.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict(
        {"state": moments, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    if ema:
        device = parameters[0].device
        ema.shadow_params = [tensors[f"ema.{i}"].to(device) for i in range(len(parameters))]
        ema.optimization_step = state["ema_steps"]
    return state["step"], state["seconds"]


def seconds_of(path: Path) -> float:
    """How long the training took whose result lies at ``path``, see `TrainingRun`."""
    with safe_open(path, framework="pt") as file:
        return float(file.metadata()["seconds"])
