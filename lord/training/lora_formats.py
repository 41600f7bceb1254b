"""LoRA files of other software: older diffusers, and kohya's, which A1111 and ComfyUI read, too."""

from collections.abc import Mapping

import torch
from diffusers.utils import convert_state_dict_to_kohya, convert_unet_state_dict_to_peft
from diffusers.utils.peft_utils import get_peft_kwargs
from peft import LoraConfig
from torch import Tensor

from lord.models.diffusion import Pipeline

UNKNOWN = {
    "dora_scale": "DoRA in kohya's format",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "oft_": "OFT",
    "lora_mid": "LoCon with a Tucker decomposition",
    "lora_controlnet": "a control LoRA",
    "text_encoder": "a LoRA of the text encoder",
    "lora_te": "a LoRA of the text encoder",
}
"""Parts of the names of weights, by what they tell of a file that is not supported."""

UNET = "unet."


def converted(
    pipeline: Pipeline, tensors: Mapping[str, Tensor], source: str
) -> tuple[dict[str, object], dict[str, Tensor]]:
    """The settings and weights, as peft names them, of a file without settings of its own.

    By diffusers' converters. A layer without alpha has the scale 1.

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
        weights = {name.removeprefix(UNET): weight for name, weight in named.items()}
        if not any("lora_A" in name for name in weights):
            weights = convert_unet_state_dict_to_peft(weights)
        weights = {name.replace(".processor.", "."): weight for name, weight in weights.items()}
        alphas = {name.removeprefix(UNET): value for name, value in (alphas or {}).items()}
        ranks = {f"^{n}": weight.shape[1] for n, weight in weights.items() if "lora_B" in n}
        settings = get_peft_kwargs(ranks, alphas, weights)
    except (ValueError, LookupError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{source}: diffusers cannot convert it ({reason})") from None
    return settings, weights


def to_kohya(tensors: Mapping[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The weights of a U-Net's LoRA under kohya's names, each layer with its alpha."""
    named = convert_state_dict_to_kohya({f"{UNET}{name}": w for name, w in tensors.items()})
    alpha = torch.tensor(float(config.lora_alpha))
    return {name: alpha.clone() if name.endswith(".alpha") else w for name, w in named.items()}
