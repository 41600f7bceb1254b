"""Sampling images from prompts, with classifier-free guidance and one seed per image."""

import math
from collections.abc import Sequence

import torch
from diffusers import (
    DDIMScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor

from lord.models.conditioning import prompt_options
from lord.models.diffusion import Pipeline
from lord.models.memory import BATCH, bring
from lord.models.pipeline import decode_latents, encode_prompts, led_from
from lord.progress import track
from lord.seeding import generators


@torch.inference_mode()
def generate(
    pipeline: Pipeline,
    prompts: str | Sequence[str],
    seeds: Sequence[int],
    steps: int = 25,
    guidance_scale: float = 3.0,
    batch_size: int = BATCH,
    scheduler: SchedulerMixin | None = None,
    negative_prompt: str = "",
    size: int | None = None,
) -> Tensor:
    """Images of the prompts, float32 on the CPU, shape (N, 3, H, W) in [0, 1].

    DDIM (Song et al., arXiv 2010.02502) with classifier-free guidance (Ho and Salimans, arXiv
    2207.12598): ε = ε(z_t, "") + guidance_scale · (ε(z_t, prompt) − ε(z_t, "")). An image depends
    on its prompt and its seed alone; the batch it was in changes it by rounding at most.
    Adapters that are active on the pipeline take part; the pipeline itself is not changed.

    Args:
        prompts: one per image, or one text for all.
        seeds: one per image.
        guidance_scale: 1 means no guidance, and half the work. The default suits the embedded
            model; 7.5 is usual for Stable Diffusion.
        scheduler: another diffusers scheduler, already configured for this model.
        negative_prompt: in the place of the empty prompt, what guidance leads away from.
        size: side of the images in pixels; the model's own by default.

    Raises:
        ValueError: prompts and seeds differ in number, or a number is not positive or finite.
        FloatingPointError: an image is not finite.
    """
    prompts = [prompts] * len(seeds) if isinstance(prompts, str) else list(prompts)
    if len(prompts) != len(seeds):
        raise ValueError(f"prompts: {len(prompts)} were given for {len(seeds)} seeds")
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps and batch_size must be positive, not {steps} and {batch_size}")
    if not math.isfinite(guidance_scale):
        raise ValueError(f"guidance_scale: expected a finite number, not {guidance_scale}")
    if size is not None and size % pipeline.vae_scale_factor:
        raise ValueError(f"size: a multiple of {pipeline.vae_scale_factor} is needed, not {size}")
    sampler = _sampler(pipeline, scheduler or sampling_schedule(pipeline))
    encoded = encode_prompts(pipeline, [*prompts, negative_prompt])
    text, empty = encoded[:-1], led_from(pipeline, encoded[-1:], negative_prompt)
    bring(pipeline.vae)
    images = []
    for start in track(range(0, len(seeds), batch_size), "sampling"):
        batch = slice(start, start + batch_size)
        given = text[batch]
        sampled = sampler(
            **prompt_options(given, empty.expand(len(given))),
            generator=generators(seeds[batch]),
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            height=size,
            width=size,
            # The VAE of SDXL may be of another precision than its U-Net.
            output_type="pt" if given.pooled is None else "latent",
        ).images
        if given.pooled is not None:
            sampled = decode_latents(pipeline, sampled)
        if not sampled.isfinite().all():
            raise FloatingPointError(
                "the samples are not finite: an adapter or the guidance may be too strong, or "
                "half precision too small for the model (--dtype float32)"
            )
        images.append(sampled.float().cpu())
    return torch.cat(images)


def sampling_schedule(
    pipeline: Pipeline, kind: type[SchedulerMixin] = DDIMScheduler
) -> SchedulerMixin:
    """A sampler for the schedule of a model.

    A schedule whose last step is noise alone is sampled from that step on (Lin et al.,
    arXiv:2305.08891); others begin where the model's own settings say.
    """
    settings = pipeline.scheduler.config
    zero_snr = settings.get("rescale_betas_zero_snr")
    return kind.from_config(settings, **({"timestep_spacing": "trailing"} if zero_snr else {}))


def _sampler(pipeline: Pipeline, scheduler: SchedulerMixin) -> Pipeline:
    """The stock pipeline around the model's parts."""
    parts = pipeline.components | {"scheduler": scheduler}
    if isinstance(pipeline, StableDiffusionXLPipeline):
        sampler = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        sampler = StableDiffusionPipeline(
            **parts | {"safety_checker": None}, requires_safety_checker=False
        )
    sampler.set_progress_bar_config(disable=True)
    return sampler
