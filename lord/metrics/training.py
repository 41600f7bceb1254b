"""How both metric networks are trained, judged and kept, and their common settings."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from accelerate import PartialState
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from lord.metrics.pool import Pool, View, draw_view
from lord.models.source import UNLOADABLE
from lord.seeding import derive_seed
from lord.training.loop import train

Draw = Callable[[int], tuple[Tensor, ...]]


class TrainingSettings(BaseModel):
    """How a metric network is trained; each network adds its own sizes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(3000, ge=1)
    batch_size: int = Field(64, ge=4, description="images per step and process")
    learning_rate: float = Field(2e-3, gt=0, description="peak of the cosine schedule")
    warmup: int = Field(200, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.02, ge=0)
    ema_decay: float = Field(0.998, ge=0, lt=1)
    images_per_domain: int = Field(4096, ge=2, description="size of the rendered pool")
    held_out_per_domain: int = Field(512, ge=2, description="renders for the reported accuracies")
    image_size: int = Field(64, ge=16)
    precision: Literal["no", "bf16"] = Field("bf16", description="autocast of the forward pass")
    checkpoint_every: int = Field(200, ge=1)
    seed: int = 0


def fit(
    objective: nn.Module, draw: Draw, settings: TrainingSettings, checkpoint: Path, name: str
) -> None:
    """Train ``objective`` in place; it ends with the average of its weights, for evaluation.

    Args:
        objective: holds the network to train; maps the tensors of a batch to a scalar loss.
        draw: maps the seed of a batch to its tensors.
        settings: schedule and optimiser.
        checkpoint: file in which an interrupted run finds its state.
        name: of the progress bar.
    """

    def loss(model: nn.Module, step: int) -> Tensor:
        seed = derive_seed("step", settings.seed, step, PartialState().process_index)
        device = next(model.parameters()).device
        batch = [tensor.to(device) for tensor in draw(seed)]
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
            return model(*batch)

    train(
        objective,
        loss,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        ema_decay=settings.ema_decay,
        checkpoint=checkpoint,
        checkpoint_every=settings.checkpoint_every,
        description=name,
    )


def checkpoint_path(work: Path, name: str, settings: TrainingSettings) -> Path:
    """Where a training keeps its state: other settings, another file."""
    return work / f"{name}-{derive_seed(settings.model_dump_json()):x}.safetensors"


def held_out_views(pool: Pool, batch_size: int = 64) -> Iterator[View]:
    """Every image of a pool once, the same in every run."""
    for rows in torch.arange(len(pool.images)).split(batch_size):
        yield draw_view(pool, rows, [derive_seed("held-out", row) for row in rows.tolist()])


def half_precision(network: nn.Module) -> dict[str, Tensor]:
    """The weights as they are stored, which halves what everybody downloads."""
    weights = network.state_dict().items()
    return {name: w.half() if w.is_floating_point() else w for name, w in weights}


@contextmanager
def network_in(folder: Path, kind: str, maker: str) -> Iterator[None]:
    """A block that loads a network of a kind from a folder.

    Args:
        maker: the function that makes one.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: it is broken; one line names the folder.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no {kind} there; make one with {maker}")
    try:
        yield
    except UNLOADABLE as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder}: {kind} is broken, or of another version: {reason}") from error
