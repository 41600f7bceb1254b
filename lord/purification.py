"""Purification: making attacked images harmless before anyone trains on them.

The alternatives to a defence in the fine-tuning. Four filters know nothing but the picture:
`jpeg`, `blur`, `total_variation` and `adverse_cleaner`. Four use the model: `diffpure` noises the
image and denoises it again, `gridpure` does so by little and often, `impress` looks for the nearby
image that survives the autoencoder, and `cat` trains the autoencoder until the image does.

Every function maps a pipeline, images (N, 3, H, W) in [0, 1], a prompt and a seed for each, to
images of the same shape and range; filters ignore what they do not need. An image's result depends
on its own seed alone, but for `cat`, which learns from all images together.
"""

import copy
import math
from collections.abc import Callable, Sequence

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from kornia.filters import bilateral_blur, gaussian_blur2d, guided_blur
from kornia.losses import total_variation as variation
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from lord.attacks import pad
from lord.metrics import degradations
from lord.model.diffusion import predict
from lord.model.pipeline import (
    check_captions,
    check_images,
    decode_latents,
    encode_images,
    encode_prompts,
)
from lord.progress import track
from lord.seeding import derive_seed, noise
from lord.training import train

Purifier = Callable[[StableDiffusionPipeline, Tensor, Sequence[str], Sequence[int]], Tensor]


def purify(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    method: str,
    batch_size: int = 16,
) -> Tensor:
    """Images (N, 3, H, W) in [0, 1] after one of `PURIFIERS`, float32 on the device of ``images``.

    Raises:
        ValueError: an unknown method, or images, prompts or seeds that do not fit.
    """
    if method not in PURIFIERS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(PURIFIERS)}")
    check_images(images)
    check_captions(prompts, images)
    if len(seeds) != len(images):
        raise ValueError(f"seeds: expected one per image, for {len(images)} images")
    clean, batch_size = [], len(images) if method in TOGETHER else batch_size
    height, width = images.shape[2:]
    for first in track(range(0, len(images), batch_size), method):
        rows = slice(first, first + batch_size)
        batch = pad(pipeline, images[rows].float().to(pipeline.device))
        batch = PURIFIERS[method](pipeline, batch, prompts[rows], seeds[rows])
        clean.append(batch[..., :height, :width].clamp(0, 1).to(images.device))
    return torch.cat(clean)


def jpeg(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    quality: int = 75,
) -> Tensor:
    """A JPEG file written and read back."""
    severity = math.log(95 / quality) / math.log(95 / 5)
    return degradations.jpeg(images, torch.full((len(images),), severity), seeds)


def blur(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sigma: float = 1.0,
) -> Tensor:
    """Gaussian blur; ``sigma`` in pixels."""
    return gaussian_blur2d(images, 2 * math.ceil(3 * sigma) + 1, (sigma, sigma))


def total_variation(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    weight: float = 0.05,
    steps: int = 100,
) -> Tensor:
    """The minimum of ½‖x − y‖² + weight · TV(x) (Rudin, Osher and Fatemi, 1992), by Adam."""

    def objective(x: Tensor) -> Tensor:
        return 0.5 * (x - images).square().sum() + weight * variation(x).sum()

    return _minimise(objective, images, steps, learning_rate=0.01)


def adverse_cleaner(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
) -> Tensor:
    """AdverseCleaner: a bilateral filter 64 times, then a guided filter 4 times.

    The guide is the attacked image, which gives the edges back; the constants are those of the
    public program, on the scale of 8-bit pixels.
    """
    smooth = images
    for _ in range(64):
        smooth = bilateral_blur(smooth, 5, 8 / 255, (8.0, 8.0))
    for _ in range(4):
        smooth = guided_blur(images, smooth, 9, 16 / 255**2)
    return smooth


@torch.no_grad()
def diffpure(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    strength: float = 0.2,
    steps: int = 10,
) -> Tensor:
    """Noise the latents up to ``strength`` of the schedule, and denoise them in ``steps``.

    DiffPure (Nie et al., arXiv:2205.07460), in the form of SDEdit (Meng et al., arXiv:2108.01073)
    with DDIM: z_t = √ᾱ_t z + √(1−ᾱ_t) ϵ, then back to t = 0 without guidance.
    """
    # Spaced so that the first of the last ``steps`` is at ``strength``.
    sampler = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    sampler.set_timesteps(round(steps / strength))
    times = sampler.timesteps[-steps:].to(pipeline.device)
    text = encode_prompts(pipeline, prompts)
    latents = encode_images(pipeline, images).float()
    epsilon = noise(
        [derive_seed(seed, "purify") for seed in seeds], latents.shape[1:], latents.device
    )
    latents = sampler.add_noise(latents, epsilon, times[:1])
    for time in times:
        prediction = predict(pipeline.unet, latents, time.expand(len(latents)), text)
        latents = sampler.step(prediction, time, latents).prev_sample
    return decode_latents(pipeline, latents)


def gridpure(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    rounds: int = 10,
    strength: float = 0.02,
    kept: float = 0.1,
) -> Tensor:
    """`diffpure` by little and often; each round keeps a share of the picture it started from.

    The small-step form of GrIDPure (Zhao et al., arXiv:2312.00084), without its overlapping grid,
    which larger pictures need.
    """
    for number in range(rounds):
        fresh = [derive_seed(seed, "round", number) for seed in seeds]
        again = diffpure(pipeline, images, prompts, fresh, strength, steps=2).clamp(0, 1)
        images = (1 - kept) * again + kept * images
    return images


def impress(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    steps: int = 100,
    radius: float = 8 / 255,
    weight: float = 1.0,
) -> Tensor:
    """The image near the attacked one that the autoencoder reproduces best.

    IMPRESS (Cao et al., arXiv:2310.19248): min_x ‖D(E(x)) − x‖² + weight · max(‖x − y‖² − Δ, 0).
    Δ is that of a change of ``radius`` in every pixel; the paper measures it by LPIPS.
    """

    def objective(x: Tensor) -> Tensor:
        restored = decode_latents(pipeline, encode_images(pipeline, x))
        # Sums: means over many pixels are too small for half precision.
        lost = (restored - x).square().sum(dim=(1, 2, 3))
        moved = (x - images).square().sum(dim=(1, 2, 3)) - radius**2 * x[0].numel()
        return (lost + weight * moved.clamp(min=0)).sum()

    return _minimise(objective, images, steps, learning_rate=0.005)


def cat(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    rank: int = 8,
    steps: int = 100,
    batch_size: int = 8,
) -> Tensor:
    """What the decoder makes of the images once a LoRA has taught the encoder to reproduce them.

    The encoder's half of CAT (Peng et al., arXiv:2502.07225): min ‖D(E_LoRA(x)) − x‖² over a LoRA
    on every layer of a copy of the encoder, so that latents agree with what the pictures show. The
    paper encodes with the adapted encoder when it fine-tunes; here the decoded image is handed on.
    """
    vae = copy.deepcopy(pipeline.vae).float().requires_grad_(False)
    layers = [
        name
        for name, layer in vae.encoder.named_modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
    ]
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers)
    with torch.random.fork_rng():  # peft draws A from the global generator
        torch.manual_seed(derive_seed("cat", *seeds))
        inject_adapter_in_model(config, vae.encoder)

    def reconstruct(x: Tensor) -> Tensor:
        return vae.decode(vae.encode(x * 2 - 1).latent_dist.mean).sample / 2 + 0.5

    def loss(model: torch.nn.Module, step: int) -> Tensor:
        order = torch.Generator().manual_seed(derive_seed("cat", *seeds, step))
        rows = torch.randperm(len(images), generator=order)[:batch_size]
        return (reconstruct(images[rows]) - images[rows]).square().mean()

    train(vae, loss, steps=steps, learning_rate=1e-3, warmup=0, description="CAT")
    with torch.no_grad():
        return torch.cat([reconstruct(batch) for batch in images.split(batch_size)])


def _minimise(
    objective: Callable[[Tensor], Tensor], images: Tensor, steps: int, learning_rate: float
) -> Tensor:
    """Adam from the images on; the objective must be a sum over them, so that they stay apart."""
    pixels = images.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        pixels.grad = torch.autograd.grad(objective(pixels), pixels)[0]
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
    return pixels.detach()


TOGETHER = frozenset({"cat"})
"""The methods that learn from all images together."""

PURIFIERS: dict[str, Purifier] = {
    "jpeg": jpeg,
    "blur": blur,
    "total_variation": total_variation,
    "adverse_cleaner": adverse_cleaner,
    "diffpure": diffpure,
    "gridpure": gridpure,
    "impress": impress,
    "cat": cat,
}
