"""The training loop of both metric networks: accelerate, cosine schedule, EMA, checkpoints.

What a step sees is a function of the seed and the step number alone. A run that was killed goes on
from its last checkpoint and ends with the same weights as one that was not.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lord.files import save_tensors
from lord.progress import track
from lord.seeding import derive_seed

Draw = Callable[[int], tuple[Tensor, ...]]


class TrainingSettings(BaseModel):
    """How a metric network is trained; see the defaults of each network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(3000, ge=1)
    batch_size: int = Field(64, ge=4, description="images per step and process")
    learning_rate: float = Field(2e-3, gt=0, description="peak of the cosine schedule")
    warmup: int = Field(200, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.02, ge=0)
    ema_decay: float = Field(0.998, ge=0, lt=1)
    images_per_domain: int = Field(4096, ge=1, description="size of the rendered pool")
    held_out_per_domain: int = Field(512, ge=1, description="renders for the reported accuracies")
    image_size: int = Field(64, ge=16)
    precision: Literal["no", "bf16"] = Field("bf16", description="autocast of the forward pass")
    checkpoint_every: int = Field(250, ge=1)
    seed: int = 0


def rate(step: int, settings: TrainingSettings) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to zero."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def fit(objective: nn.Module, draw: Draw, settings: TrainingSettings, folder: Path) -> nn.Module:
    """Train ``objective`` and return its exponential moving average, on the CPU, for evaluation.

    Args:
        objective: holds the network to train; maps the tensors of a batch to a scalar loss.
        draw: maps the seed of a batch to its tensors.
        settings: schedule and optimiser.
        folder: where the checkpoint lies; a run finds its own there and goes on.

    Raises:
        ValueError: the checkpoint there belongs to other settings.
        FloatingPointError: the loss is not finite.
    """
    path = Path(folder) / "checkpoint.safetensors"
    accelerator = Accelerator()
    device = accelerator.device
    average = AveragedModel(
        objective, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay), use_buffers=True
    ).to(device)
    optimizer = torch.optim.AdamW(
        objective.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    model, optimizer = accelerator.prepare(objective, optimizer)
    bare = accelerator.unwrap_model(model)
    first = _load_checkpoint(path, bare, average, optimizer, settings) if path.exists() else 0
    model.train()
    steps = range(first, settings.steps)
    for step in track(steps, "Training", total=settings.steps, completed=first):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, settings)
        seed = derive_seed("step", settings.seed, step, accelerator.process_index)
        batch = [tensor.to(device) for tensor in draw(seed)]
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            loss = model(*batch)
        if not loss.isfinite():
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}")
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(bare)
        done = step + 1
        if accelerator.is_main_process and (
            done % settings.checkpoint_every == 0 or done == settings.steps
        ):
            _save_checkpoint(path, done, bare, average, optimizer, settings, loss.item())
    return average.module.cpu().eval()


def _fingerprint(settings: TrainingSettings) -> str:
    return settings.model_dump_json(exclude={"checkpoint_every"})


def _save_checkpoint(
    path: Path,
    step: int,
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
    loss: float,
) -> None:
    """Everything the next step depends on, in one safetensors file."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    # safetensors refuses tensors that share memory; some networks tie their buffers.
    tensors = {name: value.detach().clone() for name, value in tensors.items()}
    notes = {"step": step, "loss": loss, "settings": _fingerprint(settings)}
    save_tensors(tensors, path, {name: json.dumps(note) for name, note in notes.items()})


def _load_checkpoint(
    path: Path,
    model: nn.Module,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    settings: TrainingSettings,
) -> int:
    """Restore what `_save_checkpoint` wrote; returns the number of steps done."""
    with safe_open(path, framework="pt") as file:
        notes = {name: json.loads(note) for name, note in file.metadata().items()}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if notes["settings"] != _fingerprint(settings):
        raise ValueError(
            f"{path} was written with other settings; restore them or start in an empty folder"
        )

    def part(prefix: str) -> dict[str, Tensor]:
        return {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }

    model.load_state_dict(part("model."))
    average.load_state_dict(part("average."))
    state = optimizer.state_dict()
    state["state"] = {}
    for name, value in part("optimizer.").items():
        index, _, field = name.partition(".")
        state["state"].setdefault(int(index), {})[field] = value
    optimizer.load_state_dict(state)
    return notes["step"]
