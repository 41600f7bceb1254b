"""Less memory for the same numbers: computed twice, one by one, or waiting on the CPU meanwhile.

Nothing here changes what is computed, but by rounding.
"""

import psutil
import torch
from accelerate import cpu_offload_with_hook
from accelerate.hooks import CpuOffload
from torch import nn

from lord.models.diffusion import Pipeline

BATCH = 16
"""Images that go through a network at a time, where nobody says how many."""

AMPLE = 24 * 2**30
"""With so many bytes free nothing is spared unasked; `lord memory` counts what commands take."""


def spare_memory(pipeline: Pipeline) -> None:
    """Let a pipeline take less memory and more time, for good.

    Of U-Net and autoencoder, what a gradient needs is computed again on the way back (gradient
    checkpointing, Chen et al., arXiv:1604.06174). The autoencoder takes one picture at a time. Text
    encoders and the autoencoder of a model on a card wait on the CPU, come when they are called,
    and go where `rest` is said.

    The autoencoder sees each picture whole: in tiles, which diffusers offers, it would be another
    function, and an attack on that not one on the model that somebody trains.
    """
    for network in (pipeline.unet, pipeline.vae):
        network.enable_gradient_checkpointing()
    pipeline.vae.enable_slicing()
    device = pipeline.unet.device
    if device.type != "cpu":
        for part in (*text_encoders(pipeline), pipeline.vae):
            cpu_offload_with_hook(part, device)


def spares_memory(pipeline: Pipeline) -> bool:
    """Whether `spare_memory` was asked of it."""
    return pipeline.unet.is_gradient_checkpointing


def rest(*networks: nn.Module) -> None:
    """Send networks to the CPU until they are called, if their pipeline spares memory."""
    for network in networks:
        if _hook_of(network) is not None:
            _move(network, torch.device("cpu"))


def bring(network: nn.Module) -> torch.device:
    """Where a network computes; if it waits elsewhere, it comes."""
    hook = _hook_of(network)
    if hook is not None:
        _move(network, torch.device(hook.execution_device))
    return network.device


def _move(network: nn.Module, device: torch.device) -> None:
    # Weights that move in inference mode could never again be part of a gradient.
    with torch.inference_mode(False):
        network.to(device)


def text_encoders(pipeline: Pipeline) -> list[nn.Module]:
    """The one of Stable Diffusion, the two of SDXL."""
    parts = ("text_encoder", "text_encoder_2")
    return [getattr(pipeline, part) for part in parts if getattr(pipeline, part, None) is not None]


def free_memory(device: torch.device) -> int:
    """Bytes that are free where a model would compute."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def _hook_of(network: nn.Module) -> CpuOffload | None:
    hook = getattr(network, "_hf_hook", None)
    return hook if isinstance(hook, CpuOffload) else None
