"""Training the weights of one adapter: inputs encoded once, batches by step, a resumable run."""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import extract_model_from_parallel
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from lord import adapter as adapters
from lord.adapter import activate, active_adapters, lora_layers
from lord.models.conditioning import Conditioning
from lord.models.diffusion import Pipeline
from lord.models.memory import BATCH, rest, spares_memory, text_encoders
from lord.models.pipeline import encode_images, encode_prompts
from lord.seeding import derive_seed
from lord.training.loop import train
from lord.training.settings import AdapterSettings

History = dict[str, list[float]]
"""The parts of a loss, each with its value at every step."""

Watch = Callable[[int, History], None]
"""Who looks at a training, see `train_adapter`."""


def check_layers(unet: UNet2DConditionModel, settings: AdapterSettings) -> None:
    """Raise ValueError unless a U-Net has layers for every name in ``target_modules``."""
    names = [name for name, _ in unet.named_modules()]
    asked = settings.target_modules
    if isinstance(asked, str):
        found = {asked: any(re.fullmatch(asked, name) for name in names)}
    else:
        found = {end: any(f".{name}".endswith(f".{end}") for name in names) for end in asked}
    if missing := [name for name, there in found.items() if not there]:
        raise ValueError(f"target_modules: the U-Net has no layer {missing[0]!r}")


def train_adapter(
    pipeline: Pipeline,
    adapter: str,
    loss: Callable[[nn.Module, int, range], tuple[Tensor, dict[str, Tensor]]],
    settings: AdapterSettings,
    checkpoint: Path | None,
    run: str,
    description: str,
    watchers: Sequence[Watch] = (),
) -> History:
    """Minimise the loss over the weights of a new adapter, which ends frozen.

    An adapter of that name on a text encoder learns with it. A pipeline that spares memory sees one
    image of a batch at a time, and learns the same.

    Args:
        loss: from the U-Net, a step and slots of its batch, what to minimise, and its parts to
            record; both are means over the slots.
        checkpoint: a ``.safetensors`` path, to whose name ``run`` is added, for the weights and the
            optimizer's state and the parts of the loss. A killed run that is started again goes on
            from there and ends as if it had not been killed. It may be removed once the result is
            saved.
        run: a name for everything the result depends on, so that a checkpoint of other settings or
            data is never taken for this run's.
        watchers: are called with the number of steps that are done and the parts of the loss so
            far, before each step and at the end.

    Returns:
        Every part of the loss at every step.

    Raises:
        FloatingPointError: the loss is not finite. Then, and when the run is interrupted, the
            half-trained adapter is taken off again.
    """
    unet = pipeline.unet
    encoders = [
        one for one in text_encoders(pipeline) if adapter in getattr(one, "peft_config", ())
    ]
    learners = [unet, *encoders]
    half_on_gpu = unet.dtype == torch.float16 and unet.device.type == "cuda"
    history: History = {}
    if checkpoint:
        checkpoint = checkpoint.with_stem(f"{checkpoint.stem}-{run}")

    def look(step: int) -> None:
        if not watchers:
            return
        # Autocast would keep copies of the weights that have no gradient.
        with torch.autocast(unet.device.type, enabled=half_on_gpu, cache_enabled=False):
            for watch in watchers:
                watch(step, history)

    def recorded(model: nn.Module, step: int) -> Iterator[Tensor]:
        look(step)
        denoiser = unet if encoders else model
        slots = slots_of_process(settings.batch_size)
        at_once = 1 if spares_memory(pipeline) else len(slots)
        yield from _in_parts(partial(loss, denoiser, step), slots, at_once, history)

    try:
        train(
            nn.ModuleList(learners) if encoders else unet,
            recorded,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup=0,
            max_grad_norm=settings.max_grad_norm,
            # float16 gradients underflow without the loss scaling that comes with this.
            mixed_precision="fp16" if half_on_gpu else "no",
            checkpoint=checkpoint,
            checkpoint_every=settings.checkpoint_every,
            device=unet.device,
            description=description,
            history=history,
            optimizer=settings.optimizer,
        )
        look(settings.steps)
    except BaseException:
        for learner in learners:
            adapters.remove_adapter(learner, adapter)
        raise
    finally:
        # Mixed precision has wrapped the forward pass, which samplers expect in its own precision.
        extract_model_from_parallel(unet, keep_fp32_wrapper=False)
        for learner in learners:
            learner.eval()
    for learner in learners:
        activate(learner, active_adapters(learner))
    return history


def _in_parts(
    loss: Callable[[range], tuple[Tensor, dict[str, Tensor]]],
    slots: range,
    at_once: int,
    history: History,
) -> Iterator[Tensor]:
    """The loss of a step, a few slots of its batch at a time; its sum is the mean over all slots.

    Args:
        history: where the parts of the loss are noted, once all have been computed.
    """
    means: dict[str, float] = {}
    for first in range(0, len(slots), at_once):
        few = slots[first : first + at_once]
        value, parts = loss(few)
        share = len(few) / len(slots)
        for name, part in parts.items():
            means[name] = means.get(name, 0.0) + share * part.item()
        yield share * value
    for name, mean in means.items():
        history.setdefault(name, []).append(mean)


def slots_of_process(batch_size: int) -> range:
    """This process's share of a batch; all of it unless several were launched together.

    Raises:
        ValueError: the batch cannot be shared equally.
    """
    state = PartialState()
    if batch_size % state.num_processes:
        raise ValueError(
            f"batch_size: {batch_size} cannot be shared equally by {state.num_processes} processes"
        )
    return range(state.process_index, batch_size, state.num_processes)


def rows_of_step(count: int, settings: AdapterSettings, step: int, slots: range) -> list[int]:
    """Which of ``count`` images slots of a step's batch hold.

    Each image is seen once before any is seen again.
    """
    rows = []
    for slot in slots:
        epoch, place = divmod(step * settings.batch_size + slot, count)
        generator = torch.Generator().manual_seed(derive_seed(settings.seed, "order", epoch))
        rows.append(int(torch.randperm(count, generator=generator)[place]))
    return rows


def seeds_of_step(settings: AdapterSettings, step: int, purpose: str, slots: range) -> list[int]:
    """One seed per slot of a step's batch, for its timestep and noise."""
    return [derive_seed(settings.seed, purpose, step, slot) for slot in slots]


@torch.no_grad()
def encode(
    pipeline: Pipeline, images: Tensor, captions: Sequence[str]
) -> tuple[Tensor, Conditioning]:
    """Latents (N, C, h, w) in float32, and what captions tell the U-Net, in its precision."""
    unet = pipeline.unet
    latents = torch.cat([encode_images(pipeline, batch) for batch in images.split(BATCH)])
    rest(pipeline.vae)
    text = encode_prompts(pipeline, captions)
    return latents.to(unet.device, torch.float32), text.to(unet.device, unet.dtype)


def fingerprint(settings: AdapterSettings, unet: UNet2DConditionModel, *inputs: Tensor) -> str:
    """A name for a training run, from everything its result depends on."""
    digest = hashlib.blake2b(settings.model_dump_json().encode(), digest_size=8)
    gates = sorted({str(getattr(layer, "gate", "")) for layer in lora_layers(unet)})
    digest.update(repr((active_adapters(unet), gates)).encode())
    for tensor in [*unet.state_dict().values(), *inputs]:
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
