"""LoRA files of other software: older diffusers, and kohya's, which A1111 and ComfyUI read, too."""

from collections.abc import Mapping

import torch
from diffusers.utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_kohya,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from diffusers.utils.peft_utils import get_peft_kwargs
from torch import Tensor, nn
from transformers import PreTrainedModel

from lord.models.diffusion import Pipeline

UNKNOWN = {
    "dora_scale": "DoRA in kohya's format",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "oft_": "OFT",
    "lora_mid": "LoCon with a Tucker decomposition",
    "lora_controlnet": "a control LoRA",
}
"""Parts of the names of weights, by what they tell of a file that is not supported."""

INNER = "text_model."


def converted(
    pipeline: Pipeline, tensors: Mapping[str, Tensor], source: str
) -> dict[str, tuple[dict[str, object], dict[str, Tensor]]]:
    """The settings and weights, as peft names them, of a file without settings of its own.

    By diffusers' converters. A layer without alpha has the scale 1.

    Returns:
        Both for each network that the file has weights of, by its name in a pipeline.

    Raises:
        ValueError: the file is of a kind that is not supported, or no LoRA.
    """
    for part, kind in UNKNOWN.items():
        if found := [name for name in tensors if part in name]:
            raise ValueError(f"{source}: {kind} ({found[0]}) is not supported")
    if not tensors or not all("lora" in name or name.endswith(".alpha") for name in tensors):
        strange = next((name for name in tensors if "lora" not in name), "none at all")
        raise ValueError(f"{source}: weights that are not those of a LoRA: {strange}")
    try:
        named, alphas = pipeline.lora_state_dict(dict(tensors), unet_config=pipeline.unet.config)
        parts: dict[str, tuple[dict[str, Tensor], dict[str, float]]] = {}
        for place, entries in enumerate((named, alphas or {})):
            for name, value in entries.items():
                first, _, rest = name.partition(".")
                part, rest = (first, rest) if first in READ else ("unet", name)
                own = inside(getattr(pipeline, part, None), rest)
                parts.setdefault(part, ({}, {}))[place][own] = value
        return {part: READ[part](*parts[part]) for part in READ if part in parts}
    except (ValueError, LookupError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{source}: diffusers cannot convert it ({reason})") from None


def inside(module: nn.Module | None, name: str) -> str:
    """What a network calls a weight of a file: newer text encoders have no part ``text_model``."""
    return name if hasattr(module, "text_model") else name.removeprefix(INNER)


def outside(module: nn.Module, name: str) -> str:
    """What files call a weight of a network, see `inside`."""
    inner = isinstance(module, PreTrainedModel) and not hasattr(module, "text_model")
    return INNER + name if inner else name


def _of_unet(
    weights: dict[str, Tensor], alphas: dict[str, float]
) -> tuple[dict[str, object], dict[str, Tensor]]:
    if not any("lora_A" in name for name in weights):
        weights = convert_unet_state_dict_to_peft(weights)
    weights = {name.replace(".processor.", "."): weight for name, weight in weights.items()}
    return get_peft_kwargs(_ranks(weights), alphas, weights), weights


def _of_text_encoder(
    weights: dict[str, Tensor], alphas: dict[str, float]
) -> tuple[dict[str, object], dict[str, Tensor]]:
    weights = convert_state_dict_to_peft(convert_state_dict_to_diffusers(weights))
    settings = get_peft_kwargs(_ranks(weights), None, weights, is_unet=False)
    if len(set(alphas.values())) > 1:
        raise ValueError("the layers of its text encoder have different alphas")
    return settings | {"lora_alpha": next(iter(alphas.values()), settings["r"])}, weights


READ = {"unet": _of_unet, "text_encoder": _of_text_encoder, "text_encoder_2": _of_text_encoder}


def _ranks(weights: Mapping[str, Tensor]) -> dict[str, int]:
    return {f"^{name}": weight.shape[1] for name, weight in weights.items() if "lora_B" in name}


def to_kohya(tensors: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The weights of a LoRA, named as in a file of diffusers, under kohya's names.

    Each layer has its alpha. The text encoder of a model with only one is called ``te``.
    """
    named = convert_state_dict_to_kohya(dict(tensors))
    if not any(name.startswith("lora_te2_") for name in named):
        named = {name.replace("lora_te1_", "lora_te_"): weight for name, weight in named.items()}
    value = torch.tensor(float(alpha))
    return {name: value.clone() if name.endswith(".alpha") else w for name, w in named.items()}
