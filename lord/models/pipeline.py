"""Loading a Stable Diffusion pipeline, and the few maps between pixels, text and latents.

Images are float tensors of shape (N, 3, H, W) in [0, 1] everywhere in this package; only the two
functions here that call the VAE know that it works in [-1, 1].
"""

import os
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch
import torch.nn.functional as F
import transformers
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.models.card import EMBEDDED
from lord.models.device import best_device


def load_pipeline(
    model: str | Path = "embedded",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> StableDiffusionPipeline:
    """Load the embedded model, a hub model by id, or a diffusers folder, ready to sample.

    Weights are frozen and in evaluation mode; what trains later (an adapter) adds its own.

    Raises:
        FileNotFoundError: ``model`` is a path that does not exist or holds no pipeline.
        OSError: the hub model cannot be reached or does not exist.
    """
    source = source_of(model)
    # Their bars for loading local files flicker by and litter notebooks.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    device = torch.device(device) if device is not None else best_device()
    # Half precision where it pays.
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    pipeline = StableDiffusionPipeline.from_pretrained(
        source,
        dtype=dtype,
        use_safetensors=True,
        safety_checker=None,
        requires_safety_checker=False,
    )
    pipeline.to(device)
    # The VAE is faster so on a CPU; the U-Net is not.
    pipeline.vae.to(memory_format=torch.channels_last)
    for module in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        module.requires_grad_(False).eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def source_of(model: str | Path) -> str:
    """What diffusers loads a model from: ``"embedded"``, a folder, or the id of a hub model.

    Raises:
        FileNotFoundError: ``model`` is a path that does not exist or holds no pipeline.
    """
    source = EMBEDDED if str(model) == "embedded" else model
    looks_local = isinstance(source, Path) or str(source).startswith((".", "/", "~"))
    if looks_local or Path(source).exists():
        source = Path(source).expanduser()
        if not (source / "model_index.json").is_file():
            raise FileNotFoundError(
                f"{source}: no diffusers pipeline there (model_index.json is missing). Give a "
                "folder written by save_pretrained, a hub id such as "
                "'stable-diffusion-v1-5/stable-diffusion-v1-5', or 'embedded'."
            )
    return os.fspath(source)


def check_images(images: Tensor) -> None:
    """Raise ValueError unless images are at least one, floats of shape (N, 3, H, W) in [0, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"images: expected floats of shape (N, 3, H, W), not {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    if not len(images):
        raise ValueError("images: there is none")
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError("images: expected values in [0, 1]; divide 8-bit values by 255")


def check_captions(captions: Sequence[str], images: Tensor) -> None:
    """Raise ValueError unless captions are a list with one for each image."""
    if isinstance(captions, str) or len(captions) != len(images):
        raise ValueError(f"captions: expected a list with one per image, for {len(images)} images")


def encode_images(pipeline: StableDiffusionPipeline, images: Tensor) -> Tensor:
    """Latents z = s·E(x) of images in [0, 1], shape (N, C, h, w); the posterior mean.

    Differentiable in ``images``.
    """
    vae = pipeline.vae
    pixels = (images.to(vae.device) * 2 - 1).to(vae.dtype)
    return vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor


def decode_latents(pipeline: StableDiffusionPipeline, latents: Tensor) -> Tensor:
    """Images in [0, 1], shape (N, 3, H, W), of latents on the scale of `encode_images`.

    In single precision at least.
    """
    vae = pipeline.vae
    pixels = vae.decode(latents.to(vae.device, vae.dtype) / vae.config.scaling_factor).sample
    return (pixels.to(torch.promote_types(pixels.dtype, torch.float32)) / 2 + 0.5).clamp(0, 1)


@torch.inference_mode()
def round_trip(pipeline: StableDiffusionPipeline, images: Tensor, batch_size: int = 64) -> Tensor:
    """Images after one pass through the VAE, on the CPU, same shape and range."""
    batches = [
        decode_latents(pipeline, encode_images(pipeline, batch)).cpu()
        for batch in images.split(batch_size)
    ]
    return torch.cat(batches)


@torch.no_grad()  # not inference mode: the embeddings may enter a training graph
def encode_prompts(pipeline: StableDiffusionPipeline, prompts: Sequence[str]) -> Tensor:
    """Text embeddings, shape (N, L, D); each distinct prompt is encoded once."""
    distinct = sorted(set(prompts))
    tokens = pipeline.tokenizer(
        distinct,
        padding="max_length",
        truncation=True,
        max_length=pipeline.tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids.to(pipeline.text_encoder.device)
    embeddings = pipeline.text_encoder(tokens)[0]
    rows = torch.tensor([distinct.index(prompt) for prompt in prompts], device=embeddings.device)
    return embeddings[rows]


def pad(pipeline: StableDiffusionPipeline, images: Tensor) -> Tensor:
    """Images whose height and width the VAE can halve: the last row and column are repeated."""
    factor = pipeline.vae_scale_factor
    height, width = (-side % factor for side in images.shape[2:])
    return F.pad(images, (0, width, 0, height), mode="replicate") if height or width else images
