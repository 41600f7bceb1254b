"""The LoRA's file: `pipeline.load_lora_weights(path)` of diffusers reads it too."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lord import adapter as adapters
from lord.adapter import activate, active_adapters, adapter_tensors, load_tensors
from lord.adapter.saved import config_of
from lord.models.conditioning import Conditioning
from lord.models.diffusion import Pipeline, predict
from lord.models.source import check_numbers
from lord.seeding import derive_seed, noise
from lord.tensors import save_tensors
from lord.training.lora_formats import converted, inside, outside, to_kohya

ADAPTER = "subject"
"""What the adapter of a LoRA is called on the U-Net, unless said otherwise."""

PARTS = ("unet", "text_encoder", "text_encoder_2")
"""The parts of a pipeline that a LoRA may be of, as its file calls them."""

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
    tensors, settings = {}, {}
    for part, module in parts_of(pipeline).items():
        config = getattr(module, "peft_config", {}).get(ADAPTER)
        if config is not None:
            weights = adapter_tensors(module, ADAPTER).items()
            tensors |= {f"{part}.{outside(module, name)}": tensor for name, tensor in weights}
            settings |= {f"{part}.{key}": value for key, value in config.to_dict().items()}
    if not tensors:
        raise ValueError(f"the pipeline has no adapter named {ADAPTER!r} to save")
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise FloatingPointError(f"{name} of the LoRA is not finite; it was not saved")
    metadata = {"format": "pt"}
    if form == "kohya":
        rank, alpha = settings["unet.r"], settings["unet.lora_alpha"]
        tensors = to_kohya(tensors, alpha)
        metadata |= {"ss_network_dim": str(rank), "ss_network_alpha": str(alpha)}
        metadata |= {"ss_network_module": "networks.lora"}
    else:
        settings = json.dumps(settings, sort_keys=True, default=sorted)
        metadata[LORA_ADAPTER_METADATA_KEY] = settings
    path = lora_file(path)
    save_tensors(tensors, path, metadata)
    return path


def load_lora(
    pipeline: Pipeline, path: str | Path, adapter: str = ADAPTER, scale: float = 1.0
) -> None:
    """Put a LoRA of the U-Net, and of text encoders, on a pipeline, active, frozen, in float32.

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
    known = parts_of(pipeline)
    if LORA_ADAPTER_METADATA_KEY in metadata:
        settings = _of_parts(_read_metadata(metadata[LORA_ADAPTER_METADATA_KEY], path))
        found = {part: (settings.get(part), own) for part, own in _of_parts(tensors).items()}
        if strange := [name for name in tensors if name.partition(".")[0] not in settings]:
            raise ValueError(f"{path}: {strange[0]} is a weight that its settings do not tell of")
    else:
        found = converted(pipeline, tensors, str(path))
    if foreign := sorted(found.keys() - known.keys()):
        raise ValueError(f"{path}: {foreign[0]!r} is no part of this model; none was loaded")
    if "unet" not in found:
        raise ValueError(f"{path}: none of its weights is of the U-Net")
    loaded = []
    try:
        for part, (settings, weights) in found.items():
            weights = {inside(known[part], name): weight for name, weight in weights.items()}
            config = config_of(settings, weights, str(path))
            config.lora_alpha *= scale
            alphas = config.alpha_pattern.items()
            config.alpha_pattern = {name: alpha * scale for name, alpha in alphas}
            load_tensors(known[part], config, weights, adapter, str(path))
            loaded.append(known[part])
        check_effect(pipeline.unet, adapter, str(path))
    except ValueError:
        for module in loaded:
            if adapter in getattr(module, "peft_config", ()):
                adapters.remove_adapter(module, adapter)
        raise


def parts_of(pipeline: Pipeline) -> dict[str, nn.Module]:
    """The networks that a LoRA may be of, as its file calls them."""
    parts = {part: getattr(pipeline, part, None) for part in PARTS}
    return {part: module for part, module in parts.items() if module is not None}


def _of_parts(named: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What has names such as ``unet.conv_in``, by the first word."""
    parts: dict[str, dict[str, Any]] = {}
    for name, value in named.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    return parts


def _read_metadata(text: str, path: Path) -> dict[str, Any]:
    problem = ValueError(f"{path}: {LORA_ADAPTER_METADATA_KEY}: no JSON object")
    try:
        found = json.loads(text)
    except ValueError:
        raise problem from None
    if not isinstance(found, dict):
        raise problem
    return found


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
