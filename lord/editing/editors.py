"""The stock pipelines that edit pictures, run with or without gradients.

Pictures go through the encoder together and as the mean of its distribution, where the stock
pipelines would encode one by one and draw a sample: an edit then depends on noise in one place.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    SchedulerMixin,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor

from lord.editing.masks import covered
from lord.editing.pixel import vary
from lord.editing.settings import EditSettings
from lord.models.conditioning import Conditioning, prompt_options
from lord.models.memory import BATCH
from lord.models.pipeline import (
    check_images,
    decode_latents,
    encode_images,
    encode_prompts,
    led_from,
    pad,
)
from lord.names import TASKS
from lord.progress import track
from lord.seeding import generators

SAMPLERS = {
    "ddim": DDIMScheduler,
    "dpm": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
}
"""The schedulers of `lord.names.SCHEDULERS`."""


@dataclass(frozen=True)
class Editor:
    """A task and the stock pipeline that does it; see `lord.names.TASKS`.

    A model in pixel space, a `DDPMPipeline`, knows variation alone, and no prompts.
    """

    task: str
    pipeline: DiffusionPipeline


@dataclass(frozen=True)
class Request:
    """What edits of N pictures depend on beside the pictures.

    Attributes:
        prompts: their embeddings, N rows.
        empty: the embedding of the empty prompt, one row.
        seeds: one for each picture, for the noise that the sampler starts from.
        masks: shape (N, 1, H, W), 1 where inpainting paints; other tasks ignore them.
    """

    prompts: Conditioning
    empty: Conditioning
    seeds: Sequence[int]
    masks: Tensor | None = None


def make_editor(
    task: str,
    pipeline: StableDiffusionPipeline,
    unet: UNet2DConditionModel | None = None,
    scheduler: str = "ddim",
) -> Editor:
    """The stock pipeline of a task around the parts of a model.

    Args:
        unet: with the channels of the task, see `lord.editing.adaptation`; variation and
            reconstruction take the model's own.
        scheduler: the sampler, one of `SAMPLERS`.

    Raises:
        ValueError: an unknown task, a U-Net that does not fit it, or one that SDXL does not know.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: choose one of {', '.join(TASKS)}")
    xl = isinstance(pipeline, StableDiffusionXLPipeline)
    if xl and task not in ("variation", "reconstruction"):
        raise ValueError(f"{task}: of Stable Diffusion 1.x and 2.x alone")
    unet, own = unet or pipeline.unet, pipeline.vae.config.latent_channels
    channels = own + {"inpainting": own + 1, "super-resolution": 3}.get(task, 0)
    if unet.config.in_channels != channels:
        raise ValueError(
            f"{task} needs a U-Net of {channels} channels, not {unet.config.in_channels}"
        )
    parts = {
        "text_encoder": pipeline.text_encoder,
        "tokenizer": pipeline.tokenizer,
        "unet": unet,
        "scheduler": SAMPLERS[scheduler].from_config(pipeline.scheduler.config),
        "safety_checker": None,
        "feature_extractor": None,
    }
    if xl:
        editor = _varier(pipeline, parts["scheduler"])
    elif task == "super-resolution":
        editor = _upscaler(pipeline.vae, parts)
    else:
        painting = task == "inpainting"
        kind = StableDiffusionInpaintPipeline if painting else StableDiffusionImg2ImgPipeline
        editor = kind(vae=pipeline.vae, **parts, requires_safety_checker=False)
    editor.set_progress_bar_config(disable=True)
    return Editor(task, editor)


def _varier(
    pipeline: StableDiffusionXLPipeline, scheduler: SchedulerMixin
) -> StableDiffusionXLImg2ImgPipeline:
    zeros = pipeline.config.get("force_zeros_for_empty_prompt", True)
    parts = pipeline.components | {"scheduler": scheduler}
    return StableDiffusionXLImg2ImgPipeline(
        **parts, force_zeros_for_empty_prompt=zeros, add_watermarker=False
    )


def _upscaler(vae: AutoencoderKL, parts: dict[str, Any]) -> StableDiffusionUpscalePipeline:
    # The constructor insists on the scaling factor of Stable Diffusion's own upscaler.
    stand_in = copy.copy(vae)
    stand_in.register_to_config(scaling_factor=0.08333)
    low_res = DDPMScheduler.from_config(parts["scheduler"].config)
    upscaler = StableDiffusionUpscalePipeline(vae=stand_in, low_res_scheduler=low_res, **parts)
    upscaler.register_modules(vae=vae)
    return upscaler


def run(editor: Editor, images: Tensor, request: Request, settings: EditSettings) -> Tensor:
    """Edited pictures in [0, 1], differentiable in ``images`` where gradients are on.

    Args:
        images: shape (N, 3, H, W) in [0, 1]; for variation also latents (N, C, h, w) on the scale
            of `lord.models.pipeline.encode_images`.

    Returns:
        Shape (N, 3, H, W); of super-resolution as many times larger as the autoencoder shrinks.
    """
    pipeline = editor.pipeline
    if editor.task == "reconstruction":
        return decode_latents(pipeline, encode_images(pipeline, images))
    xl = request.prompts.pooled is not None
    options = {
        **prompt_options(request.prompts, request.empty.expand(len(images))),
        "generator": generators(request.seeds),
        "num_inference_steps": settings.steps,
        "guidance_scale": settings.guidance_scale,
        # The VAE of SDXL may be of another precision than its U-Net.
        "output_type": "latent" if xl else "pt",
        "return_dict": False,
    }
    if editor.task == "variation":
        latents = images if images.shape[1] != 3 else encode_images(pipeline, images)
        options |= {"image": latents, "strength": settings.strength}
    elif editor.task == "inpainting":
        masks = request.masks.to(images)
        known = encode_images(pipeline, covered(images, masks))
        height, width = images.shape[2:]
        options |= {"image": known, "masked_image_latents": known, "mask_image": masks}
        options |= {"strength": 1.0, "height": height, "width": width}
    else:
        options |= {"image": images, "noise_level": settings.noise_level}
    # The stock call without its decorator, which would switch gradients off.
    call = type(pipeline).__call__.__wrapped__
    edited = call(pipeline, **options)[0]
    return decode_latents(pipeline, edited) if xl else edited.float()


def runner(
    editor: Editor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: EditSettings,
    masks: Tensor | None = None,
) -> Callable[[Tensor], Tensor]:
    """What an editor makes of N pictures in [0, 1] of any size, as `run`, for given prompts.

    Raises:
        ValueError: as `make_request`.
    """
    if isinstance(editor.pipeline, DDPMPipeline):
        return partial(vary, editor.pipeline, seeds=seeds, settings=settings)
    if masks is not None:
        masks = pad(editor.pipeline, masks)
    request = make_request(editor, prompts, seeds, masks)

    def edited(images: Tensor) -> Tensor:
        # Latents, which have other channels than pictures, have their size already.
        seen = pad(editor.pipeline, images) if images.shape[1] == 3 else images
        return run(editor, seen, request, settings)

    return edited


def make_request(
    editor: Editor, prompts: Sequence[str], seeds: Sequence[int], masks: Tensor | None = None
) -> Request:
    """What an edit asks for, with the embeddings of the editor's own text encoder.

    Raises:
        ValueError: inpainting without masks.
    """
    if editor.task == "inpainting" and masks is None:
        raise ValueError("inpainting needs masks, one for each picture")
    encoded = encode_prompts(editor.pipeline, [*prompts, ""])
    empty = led_from(editor.pipeline, encoded[-1:], "")
    return Request(encoded[:-1], empty, list(seeds), masks)


@torch.no_grad()
def edit(
    editor: Editor,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: EditSettings,
    masks: Tensor | None = None,
    batch_size: int = BATCH,
) -> Tensor:
    """Edited pictures in [0, 1], on the CPU, as from `run`.

    Each depends on its picture, prompt and seed alone.

    Args:
        images: shape (N, 3, H, W) in [0, 1], or latents, as `run` takes them.
        prompts, seeds: one for each picture.
        masks: for inpainting, shape (N, 1, H, W), 1 where it paints.

    Raises:
        ValueError: images, prompts, seeds or masks that do not fit.
    """
    vae = getattr(editor.pipeline, "vae", None)
    if vae is None or images.shape[1] != vae.config.latent_channels:
        check_images(images)
    if not len(images) == len(prompts) == len(seeds) or (
        masks is not None and len(masks) != len(images)
    ):
        raise ValueError(f"prompts, seeds, masks: expected one each, for {len(images)} images")
    edited = []
    for start in track(range(0, len(images), batch_size), editor.task):
        rows = slice(start, start + batch_size)
        painted = None if masks is None else masks[rows]
        edits = runner(editor, prompts[rows], seeds[rows], settings, painted)
        edited.append(edits(images[rows].to(editor.pipeline.unet.device)).cpu())
    return torch.cat(edited)
