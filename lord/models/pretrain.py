"""Training the embedded model on rendered images: first the VAE, then text encoder and U-Net.

Latent diffusion as in Rombach et al. (arXiv 2112.10752), at a size that two CPU cores can train.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import PartialState
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt
from safetensors import SafetensorError
from torch import Tensor, nn

from lord.data.subjects import DOMAINS, domain_module, sample_domain
from lord.files import replacing_together
from lord.models.card import write_card
from lord.models.device import best_device
from lord.models.diffusion import noised_batch
from lord.models.embedded import EmbeddedConfig, build_pipeline, forget_lengths
from lord.models.pipeline import encode_images, load_pipeline
from lord.progress import track
from lord.record import describe_device
from lord.seeding import derive_seed
from lord.tensors import load_tensors, save_tensors
from lord.training.loop import seconds_of, train


class PretrainSettings(BaseModel):
    """What the shipped weights were trained with."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seed: int = 0
    pool: PositiveInt = 16384  # rendered images per domain, each of another identity
    first: NonNegativeInt = 0  # the identity that they begin with
    vae_steps: PositiveInt = 4500
    vae_batch: PositiveInt = 16
    vae_learning_rate: PositiveFloat = 1e-3
    kl_weight: float = 1e-6
    unet_steps: PositiveInt = 6500
    unet_batch: PositiveInt = 32
    unet_learning_rate: PositiveFloat = 1e-3
    caption_dropout: float = 0.10
    max_loss_weight: PositiveFloat = 10.0
    mixed_precision: str = "bf16"
    checkpoint_every: PositiveInt = 250
    architecture: EmbeddedConfig = EmbeddedConfig()


def pretrain(folder: str | Path, settings: PretrainSettings | None = None) -> Path:
    """Train the embedded pipeline and save it to ``folder``; run again, it goes on where it was.

    Work in progress lies in ``folder/.work``. Returns the folder, which stock diffusers loads.
    """
    settings = settings or PretrainSettings()
    folder = Path(folder)
    work = folder / ".work"
    torch.manual_seed(settings.seed)
    pipeline = build_pipeline(settings.architecture)
    train_vae(pipeline, settings, work)
    train_unet(pipeline, settings, work)
    _halve(pipeline)
    seconds = {name: seconds_of(work / f"{name}.safetensors") for name in ("vae", "unet")}
    save_model(pipeline, folder, "embedded", settings, seconds)
    load_pipeline(folder)  # what was written must load
    return folder


class Reconstruction(nn.Module):
    """The VAE's objective: squared + absolute error, sharp edges, and a slight pull to N(0, 1).

    Errors of the finite differences count on their own: squared error alone is content with blur.
    """

    def __init__(self, vae: nn.Module, kl_weight: float):
        super().__init__()
        self.vae, self.kl_weight = vae, kl_weight

    def forward(self, pixels: Tensor, noise: Tensor) -> Tensor:
        """The loss of pixels (N, 3, H, W) in [-1, 1]; the noise samples the posterior."""
        posterior = self.vae.encode(pixels).latent_dist
        error = self.vae.decode(posterior.mean + posterior.std * noise).sample.float() - pixels
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        fit = error.square().mean() + 0.1 * (error.abs().mean() + edges)
        return fit + self.kl_weight * posterior.kl().mean()


class Denoiser(nn.Module):
    """Text encoder and U-Net as one network, since they learn together."""

    def __init__(self, text_encoder: nn.Module, unet: nn.Module):
        super().__init__()
        self.text_encoder, self.unet = text_encoder, unet

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """ε_θ(z_t, t, c) of latents (N, C, h, w) and caption tokens (N, L)."""
        return self.unet(noisy, timesteps, self.text_encoder(tokens)[0]).sample


def train_vae(pipeline: StableDiffusionPipeline, settings: PretrainSettings, work: Path) -> None:
    """Fit the VAE to renders."""
    done = work / "vae.safetensors"
    # Encodes in the same way, to the last bit, whether it is trained now or was before a kill.
    pipeline.vae.to(memory_format=torch.channels_last)
    trained = load_tensors(done)
    if trained is None:
        pools, _ = _render_pool(settings, work)

        latent_shape = _latent_shape(settings.architecture)

        def loss(model: nn.Module, step: int) -> Tensor:
            device = pipeline.vae.device
            number = batch_number(step)
            seed = derive_seed(settings.seed, "vae", number)
            images = _draw_images(pools, settings.vae_batch, seed)
            pixels = (images * 2 - 1).to(device, memory_format=torch.channels_last)
            generator = torch.Generator().manual_seed(
                derive_seed(settings.seed, "posterior", number)
            )
            noise = torch.randn((len(images), *latent_shape), generator=generator)
            return model(pixels, noise.to(device))

        run = train(
            Reconstruction(pipeline.vae, settings.kl_weight),
            loss,
            steps=settings.vae_steps,
            learning_rate=settings.vae_learning_rate,
            weight_decay=0.0,
            ema_decay=0.999,
            mixed_precision=settings.mixed_precision,
            checkpoint=work / "vae-checkpoint.safetensors",
            checkpoint_every=settings.checkpoint_every,
            description="VAE",
        )
        save_tensors(pipeline.vae.state_dict(), done, {"seconds": str(run.seconds)})
    else:
        pipeline.vae.load_state_dict(trained[0])
    pipeline.vae.requires_grad_(False).eval()


def train_unet(pipeline: StableDiffusionPipeline, settings: PretrainSettings, work: Path) -> None:
    """Fit text encoder and U-Net together to the noise of diffused latents (ε-prediction).

    The squared error of the noise counts 1/ᾱ_t, which is the error of v-prediction (Salimans and
    Ho, arXiv 2202.00512), but at most ``max_loss_weight``. Without it the high noise levels, where
    the caption decides what the picture shows, hardly count.
    """
    latents, captions, class_prompts = _encode_pool(pipeline, settings, work)
    done = work / "unet.safetensors"
    model = Denoiser(pipeline.text_encoder, pipeline.unet)
    trained = load_tensors(done)
    if trained is None:
        scheduler = pipeline.scheduler
        length = pipeline.tokenizer.model_max_length
        weights = (1 / scheduler.alphas_cumprod).clamp(max=settings.max_loss_weight)

        def loss(model: nn.Module, step: int) -> Tensor:
            device = pipeline.unet.device
            seed = derive_seed(settings.seed, "unet", batch_number(step))
            generator = torch.Generator().manual_seed(seed)
            rows = torch.randint(len(latents), (settings.unet_batch,), generator=generator)
            texts = [
                vary_caption(captions[row], class_prompts[row], settings.caption_dropout, generator)
                for row in rows.tolist()
            ]
            tokens = pipeline.tokenizer(
                texts, padding="max_length", max_length=length, return_tensors="pt"
            ).input_ids
            clean = latents[rows].to(device)
            noisy, times, noise = noised_batch(scheduler, clean, generator)
            prediction = model(noisy, times, tokens.to(device))
            error = F.mse_loss(prediction.float(), noise, reduction="none").mean(dim=(1, 2, 3))
            return (weights.to(device)[times] * error).mean()

        run = train(
            model,
            loss,
            steps=settings.unet_steps,
            learning_rate=settings.unet_learning_rate,
            ema_decay=0.999,
            mixed_precision=settings.mixed_precision,
            checkpoint=work / "unet-checkpoint.safetensors",
            checkpoint_every=settings.checkpoint_every,
            description="text encoder and U-Net",
        )
        save_tensors(model.state_dict(), done, {"seconds": str(run.seconds)})
    else:
        model.load_state_dict(trained[0])
    model.requires_grad_(False).eval()


def _latent_shape(architecture: EmbeddedConfig) -> tuple[int, int, int]:
    side = architecture.image_size // 2 ** (len(architecture.vae_channels) - 1)
    return architecture.latent_channels, side, side


def batch_number(step: int) -> int:
    """Which batch this process draws at a step: each of several processes draws its own."""
    state = PartialState()
    return step * state.num_processes + state.process_index


def vary_caption(
    caption: str, class_prompt: str, dropout: float, generator: torch.Generator
) -> str:
    """A caption as users write them: whole, shortened, only the class, or empty.

    The empty caption makes classifier-free guidance possible.
    """
    draw = torch.rand((), generator=generator).item()
    if draw < dropout:
        return ""
    if draw < 2 * dropout:
        return class_prompt
    if draw < 4 * dropout:
        parts = caption.split(", ")
        kept = [part for part in parts[1:] if torch.rand((), generator=generator) < 0.5]
        return ", ".join([parts[0], *kept])
    return caption


def _render_pool(settings: PretrainSettings, work: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Renders of the train split, drawn once: uint8 (pool, 3, H, W) by domain, and all captions.

    Both are in alphabetical order of the domains.
    """
    path = work / "pool.safetensors"
    found = load_tensors(path)
    if found is None or "captions" not in found[1]:
        pools, captions = {}, []
        for domain in sorted(DOMAINS):
            size = settings.architecture.image_size
            pools[domain], of_domain = render_bytes(domain, settings.pool, size, settings.first)
            captions += of_domain
        save_tensors(pools, path, {"captions": json.dumps(captions)})
        return pools, captions
    pools, metadata = found
    return {domain: pools[domain] for domain in sorted(DOMAINS)}, json.loads(metadata["captions"])


def render_bytes(domain: str, count: int, size: int, first: int = 0) -> tuple[Tensor, list[str]]:
    """Renders of the train split: uint8 (count, 3, size, size), each with its caption.

    Args:
        first: the identity to begin with; each picture shows the next one.
    """
    images, captions = [], []
    for start in track(range(0, count, 256), f"rendering {domain}"):
        rows = range(first + start, first + min(start + 256, count))
        batch = sample_domain(domain, "train", rows, size)
        images.append((batch.images * 255).round().to(torch.uint8))
        captions += batch.captions
    return torch.cat(images), captions


def _draw_images(pools: dict[str, Tensor], count: int, seed: int) -> Tensor:
    """Images of all domains in equal parts, half of them mirrored."""
    generator = torch.Generator().manual_seed(seed)
    share = count // len(pools)
    picked = [
        pool[torch.randint(len(pool), (share,), generator=generator)] for pool in pools.values()
    ]
    images = torch.cat(picked).float() / 255
    mirror = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5
    return torch.where(mirror, images.flip(-1), images)


def _encode_pool(
    pipeline: StableDiffusionPipeline, settings: PretrainSettings, work: Path
) -> tuple[Tensor, list[str], list[str]]:
    """Latents of the whole pool, encoded once, with captions and class prompts.

    Also sets the VAE's scaling factor, so that latents have unit variance.
    """
    path = work / "latents.safetensors"
    pools, captions = _render_pool(settings, work)
    found = load_tensors(path)
    if found is None:
        pipeline.vae.register_to_config(scaling_factor=1.0)
        with torch.inference_mode():
            encoded = [
                encode_images(pipeline, images.float() / 255).cpu()
                for images in track(torch.cat(list(pools.values())).split(128), "encoding")
            ]
        found = {"latents": torch.cat(encoded)}, {}
        save_tensors(found[0], path)
    # As the VAE leaves them: those that are read from the file lie otherwise in memory.
    latents = found[0]["latents"].contiguous(memory_format=torch.channels_last)
    scaling = round(1.0 / latents.std().item(), 5)
    pipeline.vae.register_to_config(scaling_factor=scaling)
    class_prompts = [
        domain_module(domain).CLASS_PROMPT for domain, pool in pools.items() for _ in pool
    ]
    return latents * scaling, captions, class_prompts


def _halve(pipeline: StableDiffusionPipeline) -> None:
    """Take VAE and U-Net in half precision, which halves what everybody downloads.

    The small text encoder stays in single precision: transformers loads the stored precision.
    """
    pipeline.vae.half()
    pipeline.unet.half()
    forget_lengths(pipeline.tokenizer)


def save_model(
    pipeline: DiffusionPipeline,
    folder: Path,
    kind: str,
    settings: BaseModel,
    seconds: dict[str, float],
) -> None:
    """Write a pipeline as diffusers does, and its card, see `write_card`: all of it or nothing.

    Raises:
        OSError: it cannot be written; one line names the folder, where all is as it was.
    """
    with replacing_together(folder) as new:
        try:
            pipeline.save_pretrained(new, safe_serialization=True)
        except SafetensorError as error:  # its name for a full disk
            raise OSError(str(error)) from error
        device = describe_device(best_device())
        write_card(new, kind, settings.model_dump_json(indent=2), seconds, device)
