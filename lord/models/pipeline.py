"""Loading a latent diffusion model, and its few maps between pixels, text and latents.

Images are float tensors of shape (N, 3, H, W) in [0, 1] everywhere in this package; only the two
functions here that call the VAE know that it works in [-1, 1].
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import diffusers
import torch
import torch.nn.functional as F
import transformers
from diffusers import StableDiffusionXLPipeline
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.utils import ModelOutput

from lord.data.captions import check_text
from lord.models.conditioning import Conditioning
from lord.models.device import best_device
from lord.models.diffusion import Pipeline, check_supported
from lord.models.memory import BATCH, bring, rest, text_encoders
from lord.models.single_file import is_single_file, load_single_file
from lord.models.source import UNLOADABLE, check_finite, check_weights, find_source, unloadable


def load_pipeline(
    model: str | Path = "embedded",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    revision: str | None = None,
) -> Pipeline:
    """Load the embedded model, a hub model by id, a diffusers folder or a checkpoint in one file.

    Stable Diffusion 1.x, 2.x and XL, which predict the noise or the velocity. Weights are frozen
    and in evaluation mode; what trains later (an adapter) adds its own. The pipeline's name holds
    the commit of a hub model.

    Args:
        revision: a commit, branch or tag of a hub model.

    Raises:
        FileNotFoundError: ``model`` is a path that does not exist or holds no pipeline.
        OSError: the hub model cannot be reached or does not exist.
        ValueError: the model is not supported, or a part of it is missing or broken.
    """
    # Their bars for loading local files flicker by and litter notebooks.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    device = torch.device(device) if device is not None else best_device()
    # Half precision where it pays.
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    if is_single_file(model):
        pipeline = load_single_file(Path(model).expanduser(), dtype)
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            check_finite(part, str(model))
    else:
        pipeline = _load_layout(model, dtype, revision)
    try:
        check_supported(pipeline)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from error
    pipeline.to(device)
    if pipeline.vae.config.get("force_upcast") and isinstance(pipeline, StableDiffusionXLPipeline):
        pipeline.vae.float()  # in half precision it overflows
    # The VAE is faster so on a CPU; the U-Net is not.
    pipeline.vae.to(memory_format=torch.channels_last)
    for module in networks(pipeline):
        module.requires_grad_(False).eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _load_layout(model: str | Path, dtype: torch.dtype, revision: str | None) -> Pipeline:
    source = find_source(model, revision)
    kind = source.pipeline_class
    source.check()
    # What SD has beside the parts of every model, and SDXL has not, is left out.
    options = {"safety_checker": None, "requires_safety_checker": False}
    if kind is StableDiffusionXLPipeline:
        options = {"add_watermarker": False}
    try:
        pipeline = kind.from_pretrained(
            source.location,
            dtype=dtype,
            use_safetensors=True,
            revision=source.revision,
            variant=source.variant,
            **options,
        )
    except UNLOADABLE as error:
        raise unloadable(source.name, error) from error
    for part in source.networks:
        check_weights(source.folder / part, getattr(pipeline, part), source.variant)
    if source.revision:
        pipeline.register_to_config(_name_or_path=source.name)
    return pipeline


def networks(pipeline: Pipeline) -> list[nn.Module]:
    """The parts of a model that have weights."""
    parts = ("vae", "unet", "text_encoder", "text_encoder_2")
    return [getattr(pipeline, part) for part in parts if getattr(pipeline, part, None) is not None]


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


def encode_images(pipeline: Pipeline, images: Tensor) -> Tensor:
    """Latents z = s·E(x) of images in [0, 1], shape (N, C, h, w); the posterior mean.

    Differentiable in ``images``.
    """
    vae = pipeline.vae
    pixels = (images.to(bring(vae)) * 2 - 1).to(vae.dtype)
    return vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor


def decode_latents(pipeline: Pipeline, latents: Tensor) -> Tensor:
    """Images in [0, 1], shape (N, 3, H, W), of latents on the scale of `encode_images`.

    In single precision at least.
    """
    vae = pipeline.vae
    pixels = vae.decode(latents.to(bring(vae), vae.dtype) / vae.config.scaling_factor).sample
    return (pixels.to(torch.promote_types(pixels.dtype, torch.float32)) / 2 + 0.5).clamp(0, 1)


@torch.inference_mode()
def round_trip(pipeline: Pipeline, images: Tensor, batch_size: int = BATCH) -> Tensor:
    """Images after one pass through the VAE, on the CPU, same shape and range."""
    batches = [
        decode_latents(pipeline, encode_images(pipeline, batch)).cpu()
        for batch in images.split(batch_size)
    ]
    return torch.cat(batches)


@torch.no_grad()  # not inference mode: the embeddings may enter a training graph
def encode_prompts(pipeline: Pipeline, prompts: Sequence[str]) -> Conditioning:
    """What prompts tell the denoiser, one row each; every distinct prompt is encoded once.

    Raises:
        ValueError: a prompt is no text.
    """
    return embed_prompts(pipeline, prompts)


def embed_prompts(pipeline: Pipeline, prompts: Sequence[str]) -> Conditioning:
    """The same, differentiable in what a text encoder learns."""
    distinct = sorted(set(prompts))
    for prompt in distinct:
        check_text(prompt)
    if getattr(pipeline, "text_encoder_2", None) is not None:
        first = _encoded(pipeline.tokenizer, pipeline.text_encoder, distinct, True)
        second = _encoded(pipeline.tokenizer_2, pipeline.text_encoder_2, distinct, True)
        text = torch.cat([one.hidden_states[-2] for one in (first, second)], dim=-1)
        pooled = second.text_embeds
    else:
        text = _encoded(pipeline.tokenizer, pipeline.text_encoder, distinct)[0]
        pooled = None
    rest(*text_encoders(pipeline))
    rows = torch.tensor([distinct.index(prompt) for prompt in prompts], device=text.device)
    return Conditioning(text, pooled, pipeline.vae_scale_factor)[rows]


def _encoded(
    tokenizer: PreTrainedTokenizerBase, encoder: nn.Module, prompts: list[str], hidden: bool = False
) -> ModelOutput:
    tokens = tokenizer(
        prompts,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids.to(bring(encoder))
    return encoder(tokens, **({"output_hidden_states": True} if hidden else {}))


def unconditional(pipeline: Pipeline, negative_prompt: str = "") -> Conditioning:
    """What guidance leads away from, one row: the embedding of an empty or a negative prompt.

    SDXL was trained with zeros where there is no prompt.
    """
    return led_from(pipeline, encode_prompts(pipeline, [negative_prompt]), negative_prompt)


def led_from(pipeline: Pipeline, empty: Conditioning, negative_prompt: str) -> Conditioning:
    """The embedding of an empty or a negative prompt as the model wants it, see `unconditional`."""
    if not negative_prompt and pipeline.config.get("force_zeros_for_empty_prompt"):
        return replace(empty, text=0 * empty.text, pooled=0 * empty.pooled)
    return empty


def pad(pipeline: Pipeline, images: Tensor) -> Tensor:
    """Images whose height and width the VAE can halve: the last row and column are repeated."""
    factor = pipeline.vae_scale_factor
    height, width = (-side % factor for side in images.shape[2:])
    return F.pad(images, (0, width, 0, height), mode="replicate") if height or width else images
