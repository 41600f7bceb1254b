"""The LoRA's file: `pipeline.load_lora_weights(path)` of diffusers reads it too."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lord import adapter as adapters
from lord.adapter import activate, active_adapters, adapter_tensors, load_tensors
from lord.adapter.saved import config_of
from lord.models.conditioning import Conditioning
from lord.models.diffusion import Pipeline, predict
from lord.models.source import check_numbers
from lord.seeding import derive_seed, noise
from lord.tensors import save_tensors
from lord.training.lora_formats import converted, to_kohya

ADAPTER = "subject"
"""What the adapter of a LoRA is called on the U-Net, unless said otherwise."""

LORA_FILE = "pytorch_lora_weights.safetensors"


def save_lora(pipeline: Pipeline, path: str | Path, form: str = "diffusers") -> Path:
    """Write a LoRA as diffusers does, its rank and alpha included, in one atomic step.

    Args:
        path: a ``.safetensors`` file, or a folder, in which diffusers' usual name is taken.
        form: one of `lord.names.LORA_FORMATS`; with ``"kohya"`` as kohya's scripts do, which A1111
            and ComfyUI read.

    Returns:
        The file.

    Raises:
        ValueError: the pipeline has none.
        FloatingPointError: a weight is not finite.
    """
    unet = pipeline.unet
    config = getattr(unet, "peft_config", {}).get(ADAPTER)
    if config is None:
        raise ValueError(f"the pipeline has no adapter named {ADAPTER!r} to save")
    tensors = adapter_tensors(unet, ADAPTER)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise FloatingPointError(f"{name} of the LoRA is not finite; it was not saved")
    metadata = {"format": "pt"}
    if form == "kohya":
        tensors = to_kohya(tensors, config)
        metadata |= {"ss_network_dim": str(config.r), "ss_network_alpha": str(config.lora_alpha)}
        metadata |= {"ss_network_module": "networks.lora"}
    else:
        tensors = {f"unet.{name}": tensor for name, tensor in tensors.items()}
        settings = {f"unet.{key}": value for key, value in config.to_dict().items()}
        settings = json.dumps(settings, sort_keys=True, default=sorted)
        metadata[LORA_ADAPTER_METADATA_KEY] = settings
    path = lora_file(path)
    save_tensors(tensors, path, metadata)
    return path


def load_lora(
    pipeline: Pipeline, path: str | Path, adapter: str = ADAPTER, scale: float = 1.0
) -> None:
    """Put a LoRA of the U-Net on the pipeline, active, frozen and in float32.

    It was written here, by diffusers, or by kohya's scripts and their relatives. It is proved to
    have been loaded: every weight in the file has found its place, and the U-Net answers
    differently with it.

    Args:
        scale: how strongly it acts; 1 is as it was trained.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is broken or of another kind, the LoRA belongs to another model or has
            no effect, or the adapter's name is taken. The pipeline is then as it was.
    """
    path = lora_file(path)
    tensors, metadata = read_safetensors(path)
    if LORA_ADAPTER_METADATA_KEY in metadata:
        if foreign := [key for key in tensors if not key.startswith("unet.")]:
            raise ValueError(f"{path}: {foreign[0]} is not a weight of the U-Net; none was loaded")
        settings = _read_metadata(metadata[LORA_ADAPTER_METADATA_KEY], path)
        tensors = {key.removeprefix("unet."): value for key, value in tensors.items()}
    else:
        settings, tensors = converted(pipeline, tensors, str(path))
    config = config_of(settings, tensors, str(path))
    config.lora_alpha *= scale
    config.alpha_pattern = {name: alpha * scale for name, alpha in config.alpha_pattern.items()}
    load_tensors(pipeline.unet, config, tensors, adapter, str(path))
    check_effect(pipeline.unet, adapter, str(path))


def _read_metadata(text: str, path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(text)
        return {key.removeprefix("unet."): value for key, value in settings.items()}
    except (ValueError, AttributeError):
        raise ValueError(f"{path}: {LORA_ADAPTER_METADATA_KEY}: no JSON object") from None


def lora_file(path: str | Path) -> Path:
    """The file itself, or the file of diffusers' usual name in a folder."""
    path = Path(path)
    return path if path.suffix == ".safetensors" else path / LORA_FILE


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a file.

    Raises:
        FileNotFoundError, ValueError: the file is missing or broken, or a number in it is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file, or a broken one ({error})") from None
    for name, tensor in tensors.items():
        check_numbers(tensor, f"{path}: {name}")
    return tensors, metadata


@torch.no_grad()
def check_effect(unet: UNet2DConditionModel, adapter: str, source: str) -> None:
    """Raise ValueError, and remove the adapter, unless it changes what the U-Net answers.

    The change must be finite: weights too large make every answer NaN.
    """
    side = 2 ** len(unet.config.block_out_channels)  # divisible as often as the U-Net halves it
    seed = derive_seed("probe")
    latents = noise([seed], (unet.config.in_channels, side, side), unet.device, unet.dtype)
    text = noise([seed], (4, unet.config.cross_attention_dim), unet.device, unet.dtype)
    pooled = None
    if unet.config.addition_embed_type == "text_time":
        sizes = 6 * unet.config.addition_time_embed_dim
        width = unet.config.projection_class_embeddings_input_dim - sizes
        pooled = noise([seed], (width,), unet.device, unet.dtype)
    given, names = Conditioning(text, pooled), active_adapters(unet)
    with_adapter = predict(unet, latents, 500, given)
    activate(unet, [name for name in names if name != adapter])
    without = predict(unet, latents, 500, given)
    activate(unet, names)
    problem = None
    if torch.equal(with_adapter, without):
        problem = "the adapter changes nothing; was it trained and saved?"
    elif not with_adapter.isfinite().all():
        problem = "with this adapter the model answers NaN or infinity; its weights are too large"
    if problem:
        adapters.remove_adapter(unet, adapter)
        raise ValueError(f"{source}: {problem}")
