"""Adding adapters to a U-Net, switching between them, and taking them off again.

A text encoder, which may have an adapter too, takes the place of the U-Net then.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from diffusers.utils import recurse_remove_peft_layers
from peft import LoraConfig, inject_adapter_in_model
from peft.functional import cast_adapter_dtype, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor

from lord.adapter.config import LordConfig
from lord.adapter.layer import LordLayer

UNMERGED = "weight before the merge"


def lora_layers(unet: UNet2DConditionModel) -> list[LoraLayer]:
    """Every layer of the U-Net that holds an adapter."""
    return [module for module in unet.modules() if isinstance(module, LoraLayer)]


def active_adapters(unet: UNet2DConditionModel) -> list[str]:
    """The names of the adapters that take part in a forward pass, in the order they were named."""
    names: list[str] = []
    for layer in lora_layers(unet):
        names += [name for name in layer.active_adapters if name not in names]
    return names


def activate(
    unet: UNet2DConditionModel, names: Sequence[str], trainable: str | None = None
) -> None:
    """Let exactly the adapters in ``names`` take part in a forward pass; train at most one.

    With no names, the U-Net computes what it computed before any adapter was added.

    Raises:
        ValueError: an adapter of that name does not exist.
    """
    known = getattr(unet, "peft_config", {})
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"no adapter named {missing[0]!r}: the U-Net holds {sorted(known)}")
    for layer in lora_layers(unet):
        layer.set_adapter(list(names), inference_mode=True)
        if trainable is not None:
            layer.set_requires_grad(trainable)


@contextmanager
def without_adapters(unet: UNet2DConditionModel) -> Iterator[None]:
    """Inside the block no adapter takes part. Quick enough for every training step."""
    layers = [layer for layer in lora_layers(unet) if not layer.disable_adapters]
    # peft's own switch would also touch the gradient flags of every weight.
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def add_adapter(unet: UNet2DConditionModel, config: LoraConfig, name: str, seed: int = 0) -> None:
    """Add a freshly initialised adapter, in float32 whatever the U-Net's precision.

    The new adapter is active and the only trainable part of the U-Net; adapters that were active
    stay active, frozen. Float32 matters: a bfloat16 weight of 0.05 swallows a step of 1e-4.

    Args:
        seed: of the random start of A and of the gates.

    Raises:
        ValueError: the name is taken; a LoRD adapter would come after a plain LoRA; adapters are
            merged; or no layer matches ``config.target_modules``.
    """
    if name in getattr(unet, "peft_config", {}):
        raise ValueError(f"an adapter named {name!r} is already there: remove it first")
    layers = lora_layers(unet)
    if isinstance(config, LordConfig) and not all(isinstance(la, LordLayer) for la in layers):
        raise ValueError("add the LoRD adapter before any plain LoRA, which can then share layers")
    if any(layer.merged for layer in layers):
        raise ValueError("adapters are merged into the weights: unmerge them first")
    before = active_adapters(unet)
    with torch.random.fork_rng(devices=[]):  # weights start on the CPU, on any device the same
        torch.manual_seed(seed)
        with warnings.catch_warnings():  # more than one adapter is what we want
            warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")
            try:
                inject_adapter_in_model(config, unet, name)
            except ValueError:
                getattr(unet, "peft_config", {}).pop(name, None)  # peft lists what it did not add
                raise
    unet._hf_peft_config_loaded = True  # how diffusers marks a model that holds adapters
    cast_adapter_dtype(unet, name)
    unet.requires_grad_(False)
    activate(unet, [*before, name], trainable=name)


def adapter_tensors(unet: UNet2DConditionModel, name: str) -> dict[str, Tensor]:
    """The weights of one adapter, named as peft saves them (without the adapter's name)."""
    # Without the last argument peft may look the base model up on the hub.
    return get_peft_model_state_dict(unet, adapter_name=name, save_embedding_layers=False)


def load_tensors(
    unet: UNet2DConditionModel,
    config: LoraConfig,
    tensors: Mapping[str, Tensor],
    name: str,
    source: str,
) -> None:
    """Add an adapter with the given weights, frozen and active.

    Nothing is left on the U-Net when this fails.

    Args:
        source: where the weights come from, for the error.

    Raises:
        ValueError: names or shapes differ from what ``config`` gives on this U-Net, so the
            adapter belongs to another model.
    """
    try:
        add_adapter(unet, config, name)
    except ValueError as error:  # such as: no layer has one of the names in target_modules
        raise ValueError(f"{source}: {' '.join(str(error).split())}") from None
    expected = {key: tuple(t.shape) for key, t in adapter_tensors(unet, name).items()}
    found = {key: tuple(t.shape) for key, t in tensors.items()}
    if expected != found:
        remove_adapter(unet, name)
        key = min(key for key in expected | found if expected.get(key) != found.get(key))
        raise ValueError(
            f"{source}: this adapter does not belong to this model. {key} has shape "
            f"{found.get(key, 'none (missing)')} in the file, and the model expects "
            f"{expected.get(key, 'no such weight')}."
        )
    result = set_peft_model_state_dict(unet, dict(tensors), adapter_name=name)
    assert not result.unexpected_keys, "the names were compared above"
    activate(unet, active_adapters(unet))


def remove_adapter(unet: UNet2DConditionModel, name: str) -> None:
    """Take one adapter off; the others stay, and those that were active stay active."""
    remaining = [other for other in active_adapters(unet) if other != name]
    if set(unet.peft_config) == {name}:
        remove_adapters(unet)
        return
    unmerge(unet)
    activate(unet, remaining)
    unet.delete_adapters(name)


def remove_adapters(unet: UNet2DConditionModel) -> None:
    """Take every adapter off. The U-Net is then what it was before the first, to the last bit."""
    if not lora_layers(unet):
        return
    unmerge(unet)
    recurse_remove_peft_layers(unet)
    del unet.peft_config
    unet._hf_peft_config_loaded = False


def merge(unet: UNet2DConditionModel) -> None:
    """Add the active adapters to the weights. A LoRD adapter needs a fixed λ (see `set_gate`).

    Raises:
        ValueError: a gate is learned, or adapters are merged already. Nothing is changed then.
    """
    layers = lora_layers(unet)
    if any(layer.merged for layer in layers):
        raise ValueError("adapters are merged already: unmerge them first")
    for layer in layers:
        for name in layer.active_adapters:
            if name in layer.lora_variant:
                layer.get_delta_weight(name)  # refuses a learned gate
    for layer in layers:
        # W + Δ − Δ is not W in floating point, so the weight itself is kept.
        layer._cache_store(UNMERGED, layer.get_base_layer().weight.detach().clone())
        layer.merge()


def unmerge(unet: UNet2DConditionModel) -> None:
    """Undo `merge`, to the last bit. Does nothing where nothing is merged."""
    for layer in lora_layers(unet):
        if layer.merged:
            layer.unmerge()
            layer.get_base_layer().weight.data = layer._cache_pop(UNMERGED)
