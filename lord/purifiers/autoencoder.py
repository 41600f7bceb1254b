"""Purifiers that ask the autoencoder: what it reproduces badly was put there by an attack."""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from lord.models.diffusion import Pipeline
from lord.models.memory import bring
from lord.models.pipeline import decode_latents, encode_images
from lord.seeding import derive_seed
from lord.training.loop import train


@torch.no_grad()
def round_trip(
    pipeline: Pipeline, images: Tensor, prompts: Sequence[str], seeds: Sequence[int]
) -> Tensor:
    """D(E(x)): what the autoencoder keeps, which is what the model learns from anyway.

    The control of every purifier that passes the autoencoder.
    """
    return decode_latents(pipeline, encode_images(pipeline, images))


def impress(
    pipeline: Pipeline,
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

    return minimise(objective, images, steps, learning_rate=0.005)


def minimise(
    objective: Callable[[Tensor], Tensor], images: Tensor, steps: int, learning_rate: float
) -> Tensor:
    """Adam from the images on; the objective must be a sum over them, so that they stay apart."""
    pixels = images.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=learning_rate)
    for _ in range(steps):
        pixels.grad = torch.autograd.grad(objective(pixels), pixels)[0]
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
    return pixels.detach()


def cat(
    pipeline: Pipeline,
    images: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    rank: int = 8,
    steps: int = 100,
    batch_size: int = 8,
    at_once: int = 8,
) -> Tensor:
    """What the decoder makes of the images once a LoRA has taught the encoder to reproduce them.

    The encoder's half of CAT (Peng et al., arXiv:2502.07225): min ‖D(E_LoRA(x)) − x‖² over a LoRA
    on every layer of a copy of the encoder, so that latents agree with what the pictures show. The
    paper encodes with the adapted encoder when it fine-tunes; here the decoded image is handed on.

    Args:
        batch_size: images of a step.
        at_once: images that go through the network together; changes memory and speed only.
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

    def loss(model: torch.nn.Module, step: int) -> Iterator[Tensor]:
        order = torch.Generator().manual_seed(derive_seed("cat", *seeds, step))
        rows = torch.randperm(len(images), generator=order)[:batch_size]
        for few in rows.split(at_once):
            error = (reconstruct(images[few]) - images[few]).square().mean()
            yield len(few) / len(rows) * error

    train(
        vae,
        loss,
        steps=steps,
        learning_rate=1e-3,
        warmup=0,
        description="CAT",
        device=bring(pipeline.vae),
    )
    with torch.no_grad():
        return torch.cat([reconstruct(batch) for batch in images.split(min(batch_size, at_once))])
