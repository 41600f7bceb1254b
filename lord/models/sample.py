"""Sampling images from prompts: DDIM with classifier-free guidance, one seed per image."""

from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler, SchedulerMixin, StableDiffusionPipeline
from torch import Tensor

from lord.models.pipeline import encode_prompts
from lord.progress import track
from lord.seeding import generators


@torch.inference_mode()
def generate(
    pipeline: StableDiffusionPipeline,
    prompts: str | Sequence[str],
    seeds: Sequence[int],
    steps: int = 25,
    guidance_scale: float = 3.0,
    batch_size: int = 32,
    scheduler: SchedulerMixin | None = None,
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

    Raises:
        ValueError: prompts and seeds differ in number, or a number is not positive.
    """
    prompts = [prompts] * len(seeds) if isinstance(prompts, str) else list(prompts)
    if len(prompts) != len(seeds):
        raise ValueError(f"prompts: {len(prompts)} were given for {len(seeds)} seeds")
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps and batch_size must be positive, not {steps} and {batch_size}")
    sampler = StableDiffusionPipeline(
        **pipeline.components
        | {
            "scheduler": scheduler or DDIMScheduler.from_config(pipeline.scheduler.config),
            "safety_checker": None,
        },
        requires_safety_checker=False,
    )
    sampler.set_progress_bar_config(disable=True)
    text = encode_prompts(pipeline, [*prompts, ""])
    text, empty = text[:-1], text[-1:]
    images = []
    for start in track(range(0, len(seeds), batch_size), "sampling"):
        batch = slice(start, start + batch_size)
        sampled = sampler(
            prompt_embeds=text[batch],
            negative_prompt_embeds=empty.expand_as(text[batch]),
            generator=generators(seeds[batch]),
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            output_type="pt",
        ).images
        images.append(sampled.float().cpu())
    return torch.cat(images)
