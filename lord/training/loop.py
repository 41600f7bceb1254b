"""One resumable training loop for every network of the study.

A step draws all its random numbers from its own index, so a loop that was killed goes on from its
last checkpoint and ends with the weights of an uninterrupted run.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from diffusers.training_utils import EMAModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lord.progress import say, track
from lord.tensors import save_tensors


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
    loss: Callable[[nn.Module, int], Tensor | Iterable[Tensor]],
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
    history: dict[str, list[float]] | None = None,
    device: torch.device | None = None,
    optimizer: str = "adamw",
) -> TrainingRun:
    """Minimise ``loss(model, step)`` over the parameters that require gradients, with AdamW.

    With ``ema_decay`` the model ends with the exponential moving average of its weights.
    ``checkpoint`` (a safetensors file) makes the run resumable; it is removed at the end by the
    caller, once the result is saved. One that cannot be used counts as none. ``history`` is what
    ``loss`` notes at every step; it lies in the checkpoint, and is restored with it.

    A loss may come in parts, whose sum it is: each is differentiated before the next is computed,
    so that the memory is that of one part.

    Args:
        device: where the model is and stays; without, it goes where Accelerate computes.
        optimizer: one of `lord.names.OPTIMIZERS`.

    Raises:
        FloatingPointError: the loss, or a weight at the end, is not finite.
        ModuleNotFoundError, ValueError: see `make_optimizer`.
    """
    # Accelerate keeps the first precision of a process for good unless told to forget it.
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=mixed_precision, device_placement=device is None)
    model.to(device or accelerator.device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    kind = make_optimizer(optimizer, parameters[0].device)
    optimizer = kind(parameters, lr=learning_rate, weight_decay=weight_decay)
    ema = EMAModel(parameters, decay=ema_decay) if ema_decay else None
    start, seconds = 0, 0.0
    if checkpoint and checkpoint.exists():
        start, seconds = _restore(checkpoint, parameters, optimizer, ema, history)
    clock = time.perf_counter() - seconds
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    wrapped.train()
    losses = []
    for step in track(range(start, steps), description, total=steps, completed=start):
        for group in optimizer.param_groups:
            group["lr"] = cosine_learning_rate(step, steps, learning_rate, warmup)
        total = 0.0
        for value in _parts(accelerator, loss, wrapped, step):
            if not torch.isfinite(value):
                raise FloatingPointError(
                    f"{description}: the loss became {value.item()} at step {step}; "
                    "lower the learning rate, or check the images for broken values"
                )
            accelerator.backward(value)
            total += value.item()
        accelerator.clip_grad_norm_(parameters, max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if ema:
            ema.step(parameters)
        losses.append(total)
        done = step + 1
        if checkpoint and done % checkpoint_every == 0 and accelerator.is_main_process:
            state = {"step": done, "seconds": time.perf_counter() - clock}
            _save(checkpoint, state, parameters, optimizer, ema, history)
    if ema:
        ema.copy_to(parameters)
    if not all(parameter.isfinite().all() for parameter in parameters):
        raise FloatingPointError(f"{description}: weights are not finite; lower the learning rate")
    model.eval()
    return TrainingRun(losses, time.perf_counter() - clock)


def make_optimizer(name: str, device: torch.device) -> Callable[..., torch.optim.Optimizer]:
    """AdamW by the name of a setting; ``adamw8bit`` keeps its moments in eight bits.

    Eight bits: Dettmers et al., arXiv:2110.02861.

    Raises:
        ModuleNotFoundError: the library of that is not installed.
        ValueError: it does not work on the device.
    """
    if name == "adamw":
        return torch.optim.AdamW
    try:
        from bitsandbytes.optim import AdamW8bit
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "--optimizer adamw8bit needs bitsandbytes, which comes with the extra 8bit: "
            "pip install -e '.[8bit]' in the folder of this package"
        ) from error
    if device.type != "cuda":
        raise ValueError(f"--optimizer adamw8bit: works on NVIDIA cards, not on {device.type}")
    return AdamW8bit


def _parts(
    accelerator: Accelerator, loss: Callable, model: nn.Module, step: int
) -> Iterator[Tensor]:
    """The parts of a loss, each computed in the precision of the training."""
    with accelerator.autocast():
        value = loss(model, step)
    if isinstance(value, Tensor):
        yield value
        return
    parts = iter(value)
    while True:
        with accelerator.autocast():
            part = next(parts, None)
        if part is None:
            return
        yield part


def _save(
    path: Path,
    state: dict[str, float],
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ema: EMAModel | None,
    history: dict[str, list[float]] | None,
) -> None:
    tensors = {f"parameter.{i}": parameter for i, parameter in enumerate(parameters)}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": value for name, value in moments.items()}
    if ema:
        tensors |= {f"ema.{i}": value for i, value in enumerate(ema.shadow_params)}
        state["ema_steps"] = ema.optimization_step
    for name, values in (history or {}).items():
        tensors[f"history.{name}"] = torch.tensor(values, dtype=torch.float64)
    save_tensors(tensors, path, metadata={"state": json.dumps(state)})


def _restore(
    path: Path,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ema: EMAModel | None,
    history: dict[str, list[float]] | None,
) -> tuple[int, float]:
    """Put everything back as it was; the step to go on with, and the seconds until then.

    Of a checkpoint that is broken or of something else, nothing is taken, and this is said.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        step, seconds = int(state["step"]), float(state["seconds"])
        kept = _numbered(tensors, "parameter", parameters)
        shadows = _numbered(tensors, "ema", parameters) if ema else []
        ema_steps = int(state["ema_steps"]) if ema else 0
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".")
                whole = "exp_avg" in key  # eight bits have tables beside them
                if whole and value.shape != parameters[int(number)].shape:
                    raise ValueError(f"{name} has another shape than the weight")
                moments.setdefault(int(number), {})[key] = value
        if not all(value.isfinite().all() for value in tensors.values()):
            raise ValueError("not all its numbers are finite")
        noted = {
            name.removeprefix("history."): value.tolist()
            for name, value in tensors.items()
            if name.startswith("history.")
        }
        if history is not None and (not noted or any(len(v) != step for v in noted.values())):
            raise ValueError("the losses of some steps are missing")
    except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
        say(f"{path}: a checkpoint that cannot be used ({error}); the training starts over")
        return 0, 0.0
    with torch.no_grad():
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(
        {"state": moments, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    if ema:
        ema.shadow_params = [value.to(parameters[0].device) for value in shadows]
        ema.optimization_step = ema_steps
    if history is not None:
        history.update(noted)
    return step, seconds


def _numbered(
    tensors: dict[str, Tensor], kind: str, parameters: list[nn.Parameter]
) -> list[Tensor]:
    """The tensors of a checkpoint that belong to the parameters, one each.

    Raises:
        KeyError, ValueError: one is missing, or has another shape.
    """
    found = [tensors[f"{kind}.{i}"] for i in range(len(parameters))]
    for number, (value, parameter) in enumerate(zip(found, parameters, strict=True)):
        if value.shape != parameter.shape:
            raise ValueError(f"{kind}.{number} has another shape than the weight")
    return found


def seconds_of(path: Path) -> float:
    """How long the training took whose result lies at ``path``, see `TrainingRun`."""
    with safe_open(path, framework="pt") as file:
        return float(file.metadata()["seconds"])
