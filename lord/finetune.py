"""LoRA fine-tuning on photographs of one subject, and the LoRA's file.

With a defence on the pipeline (see `lord.defence`) the same function is Stage 2 of LoRD: the
defence takes part in every forward pass, frozen, and only the new LoRA learns.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import extract_model_from_parallel
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft import LoraConfig
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lord import adapter as adapters
from lord.adapter import (
    activate,
    active_adapters,
    adapter_tensors,
    add_adapter,
    load_tensors,
    lora_layers,
)
from lord.files import save_tensors, write_text
from lord.model.diffusion import (
    check_predicts_noise,
    noised,
    predict,
    row_errors,
    training_schedule,
)
from lord.model.pipeline import check_captions, check_images, encode_images, encode_prompts
from lord.seeding import derive_seed, noise
from lord.training import train

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
LORA_FILE = "pytorch_lora_weights.safetensors"
LEARNING_RATE = "of AdamW at the start; a cosine takes it down to 2 % of that"

History = dict[str, list[float]]
"""The parts of a loss, each with its value at every step."""


class AdapterSettings(BaseModel):
    """What the training of any adapter needs. Unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(4, ge=1)
    alpha: float = Field(4, gt=0, description="the adapter's update is scaled by alpha / rank")
    target_modules: tuple[str, ...] | str = Field(
        ATTENTION, description="ends of layer names, or one regular expression for whole names"
    )
    learning_rate: float = Field(1e-3, gt=0, description=LEARNING_RATE)
    steps: int = Field(300, ge=1, description="optimizer steps")
    batch_size: int = Field(8, ge=1, description="images per step")
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    checkpoint_every: int = Field(100, ge=1, description="steps between checkpoints")
    seed: int = 0

    def targets(self) -> list[str] | str:
        """``target_modules`` as peft wants it."""
        targets = self.target_modules
        return targets if isinstance(targets, str) else list(targets)


class FinetuneSettings(AdapterSettings):
    """Settings of one fine-tuning; the defaults suit the embedded model."""

    learning_rate: float = Field(4e-3, gt=0, description=LEARNING_RATE)
    prior_weight: float = Field(
        0.0, ge=0, description="weight of the loss on class images (prior preservation); 0: none"
    )


def finetune(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    captions: Sequence[str],
    settings: FinetuneSettings | None = None,
    *,
    prior: tuple[Tensor, Sequence[str]] | None = None,
    adapter: str = "subject",
    checkpoint: Path | None = None,
) -> History:
    """Train a new LoRA of the U-Net on images of a subject; it ends on the pipeline, active.

    Minimises mean‖ε_θ(z_t, t, c) − ϵ‖² over the LoRA's weights alone (Hu et al., arXiv 2106.09685),
    with a fresh timestep and noise per image and step. Adapters that are active on the U-Net stay
    so, frozen: after `lord.defence.load_defence` this is Stage 2 of LoRD (arXiv 2602.10319).

    Args:
        images: float, shape (N, 3, H, W) in [0, 1].
        captions: one per image.
        prior: images of the class and their captions, which keep the class as it was (Ruiz et
            al., arXiv 2208.12242). Needed exactly when ``settings.prior_weight`` is above zero.
        adapter: the name of the new LoRA.
        checkpoint: where work in progress is kept, see `train_adapter`.

    Returns:
        ``"loss"`` of every step, and ``"prior"`` where there is one.

    Raises:
        ValueError: images, captions or prior are not as above; the adapter's name is taken; or the
            model does not predict noise.
        FloatingPointError: the loss is not finite. The new LoRA is then gone again.
    """
    settings = settings or FinetuneSettings()
    check_predicts_noise(pipeline)
    check_images(images)
    check_captions(captions, images)
    if (prior is not None) != (settings.prior_weight > 0):
        raise ValueError("prior: give class images exactly when prior_weight is above zero")
    sources = [encode(pipeline, images, captions)]
    if prior is not None:
        class_images, class_captions = prior
        check_images(class_images)
        check_captions(class_captions, class_images)
        sources.append(encode(pipeline, class_images, class_captions))
    schedule = training_schedule(pipeline)

    def loss(unet: nn.Module, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        batch = []
        for kind, (latents, text) in zip(("subject", "prior"), sources, strict=False):
            rows = rows_of_step(len(latents), settings, step)
            batch.append((latents[rows], text[rows], seeds_of_step(settings, step, kind)))
        latents, text, seeds = zip(*batch, strict=True)
        noisy, times, epsilon = noised(schedule, torch.cat(latents), list(chain(*seeds)))
        prediction = predict(unet, noisy, times, torch.cat(text))
        errors = row_errors(prediction, epsilon).chunk(len(sources))
        if prior is None:
            return errors[0].mean(), {"loss": errors[0].mean()}
        parts = {"loss": errors[0].mean(), "prior": errors[1].mean()}
        return parts["loss"] + settings.prior_weight * parts["prior"], parts

    name = fingerprint(settings, pipeline.unet, *(tensor for pair in sources for tensor in pair))
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=settings.targets()
    )
    add_adapter(pipeline.unet, config, adapter, derive_seed(settings.seed, "initialisation"))
    return train_adapter(pipeline, adapter, loss, settings, checkpoint, name, "fine-tuning")


def remove_adapters(pipeline: StableDiffusionPipeline) -> None:
    """Take every adapter off the pipeline, which is then its base model again, to the last bit."""
    adapters.remove_adapters(pipeline.unet)


def train_adapter(
    pipeline: StableDiffusionPipeline,
    adapter: str,
    loss: Callable[[nn.Module, int], tuple[Tensor, dict[str, Tensor]]],
    settings: AdapterSettings,
    checkpoint: Path | None,
    run: str,
    description: str,
) -> History:
    """Minimise the loss over the weights of a new adapter, which ends frozen.

    Args:
        loss: from the U-Net and a step, what to minimise, and its parts to record.
        checkpoint: a ``.safetensors`` path, to whose name ``run`` is added, for the weights and the
            optimizer's state; the parts lie beside it as JSON. A killed run that is started again
            goes on from there and ends as if it had not been killed. Both may be removed once the
            result is saved.
        run: a name for everything the result depends on, so that a checkpoint of other settings or
            data is never taken for this run's.

    Returns:
        Every part of the loss at every step.

    Raises:
        FloatingPointError: the loss is not finite. Then, and when the run is interrupted, the
            half-trained adapter is taken off again.
    """
    unet = pipeline.unet
    half_on_gpu = unet.dtype == torch.float16 and unet.device.type == "cuda"
    history: list[dict[str, float]] = []
    diary = None
    if checkpoint:
        checkpoint = checkpoint.with_stem(f"{checkpoint.stem}-{run}")
        diary = checkpoint.with_suffix(".json")
        if checkpoint.exists():
            history = json.loads(diary.read_text(encoding="utf-8"))

    def recorded(unet: nn.Module, step: int) -> Tensor:
        value, parts = loss(unet, step)
        del history[step:]  # steps since the checkpoint are done again
        history.append({name: part.item() for name, part in parts.items()})
        # Just before the checkpoint of this step, so that no checkpoint is ever without it.
        if diary and (step + 1) % settings.checkpoint_every == 0 and PartialState().is_main_process:
            write_text(diary, json.dumps(history))
        return value

    try:
        train(
            unet,
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
            description=description,
        )
    except BaseException:
        adapters.remove_adapter(unet, adapter)
        raise
    finally:
        # Mixed precision has wrapped the forward pass, which samplers expect in its own precision.
        extract_model_from_parallel(unet, keep_fp32_wrapper=False)
        unet.eval()
    activate(unet, active_adapters(unet))
    return {name: [parts[name] for parts in history] for name in history[0]}


# One training step: which images, with which noise.


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


def rows_of_step(count: int, settings: AdapterSettings, step: int) -> list[int]:
    """Which of ``count`` images a step trains on. Each is seen once before any is seen again."""
    rows = []
    for slot in slots_of_process(settings.batch_size):
        epoch, place = divmod(step * settings.batch_size + slot, count)
        generator = torch.Generator().manual_seed(derive_seed(settings.seed, "order", epoch))
        rows.append(int(torch.randperm(count, generator=generator)[place]))
    return rows


def seeds_of_step(settings: AdapterSettings, step: int, purpose: str) -> list[int]:
    """One seed per image of a step's batch, for its timestep and noise."""
    slots = slots_of_process(settings.batch_size)
    return [derive_seed(settings.seed, purpose, step, slot) for slot in slots]


# Inputs, prepared once for all steps.


@torch.no_grad()
def encode(
    pipeline: StableDiffusionPipeline, images: Tensor, captions: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Latents (N, C, h, w) in float32 and text embeddings (N, L, D) in the U-Net's precision."""
    unet = pipeline.unet
    latents = torch.cat([encode_images(pipeline, batch) for batch in images.split(16)])
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


# The LoRA's file, in the format of diffusers: pipeline.load_lora_weights(path) reads it too.


def save_lora(
    pipeline: StableDiffusionPipeline, path: str | Path, adapter: str = "subject"
) -> Path:
    """Write a LoRA as diffusers does, its rank and alpha included, in one atomic step.

    Args:
        path: a ``.safetensors`` file, or a folder, in which diffusers' usual name is taken.

    Returns:
        The file.

    Raises:
        ValueError: the pipeline has no such adapter.
    """
    unet = pipeline.unet
    config = getattr(unet, "peft_config", {}).get(adapter)
    if config is None:
        raise ValueError(f"the pipeline has no adapter named {adapter!r} to save")
    tensors = {f"unet.{key}": value for key, value in adapter_tensors(unet, adapter).items()}
    settings = {f"unet.{key}": value for key, value in config.to_dict().items()}
    metadata = {
        "format": "pt",
        LORA_ADAPTER_METADATA_KEY: json.dumps(settings, sort_keys=True, default=sorted),
    }
    path = lora_file(path)
    save_tensors(tensors, path, metadata)
    return path


def load_lora(
    pipeline: StableDiffusionPipeline, path: str | Path, adapter: str = "subject"
) -> None:
    """Put a saved LoRA on the pipeline, active, frozen and in float32.

    It is proved to have been loaded: every weight in the file has found its place, and the U-Net
    answers differently with it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is broken or of another kind, the LoRA belongs to another model or has
            no effect, or the adapter's name is taken. The pipeline is then as it was.
    """
    path = lora_file(path)
    tensors, metadata = read_safetensors(path)
    if LORA_ADAPTER_METADATA_KEY not in metadata:
        raise ValueError(f"{path}: no adapter settings in the file, so it was not written here")
    if foreign := [key for key in tensors if not key.startswith("unet.")]:
        raise ValueError(f"{path}: {foreign[0]} is not a weight of the U-Net; nothing was loaded")
    settings = json.loads(metadata[LORA_ADAPTER_METADATA_KEY])
    settings = {key.removeprefix("unet."): value for key, value in settings.items()}
    tensors = {key.removeprefix("unet."): value for key, value in tensors.items()}
    try:
        config = LoraConfig(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: adapter settings that peft does not take ({error})") from None
    load_tensors(pipeline.unet, config, tensors, adapter, str(path))
    check_effect(pipeline.unet, adapter, str(path))


def lora_file(path: str | Path) -> Path:
    """The file itself, or the file of diffusers' usual name in a folder."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / LORA_FILE


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file.

    Raises:
        FileNotFoundError, ValueError: the file is missing or broken.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file, or a broken one ({error})") from None


@torch.no_grad()
def check_effect(unet: UNet2DConditionModel, adapter: str, source: str) -> None:
    """Raise ValueError, and remove the adapter, if the U-Net answers the same without it."""
    side = 2 ** len(unet.config.block_out_channels)  # divisible as often as the U-Net halves it
    seed = derive_seed("probe")
    latents = noise([seed], (unet.config.in_channels, side, side), unet.device, unet.dtype)
    text = noise([seed], (4, unet.config.cross_attention_dim), unet.device, unet.dtype)
    names = active_adapters(unet)
    with_adapter = unet(latents, 500, text).sample
    activate(unet, [name for name in names if name != adapter])
    without = unet(latents, 500, text).sample
    activate(unet, names)
    if torch.equal(with_adapter, without):
        adapters.remove_adapter(unet, adapter)
        raise ValueError(f"{source}: the adapter changes nothing; was it trained and saved?")
