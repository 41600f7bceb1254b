"""Training an unconditional diffusion model on rendered images of one domain."""

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline
from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lord.models.diffusion import noised_batch
from lord.models.pixel import PixelConfig, build_ddpm, load_ddpm
from lord.models.pretrain import batch_number, render_bytes, save_model
from lord.names import DOMAINS
from lord.seeding import derive_seed
from lord.tensors import load_tensors, save_tensors
from lord.training.loop import seconds_of, train


class PixelSettings(BaseModel):
    """How an unconditional model is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    domain: Literal[DOMAINS] = "portraits"
    seed: int = 0
    pool: PositiveInt = 16384  # rendered images, each of another identity
    steps: PositiveInt = 12000
    batch_size: PositiveInt = 16
    learning_rate: PositiveFloat = 1e-3
    checkpoint_every: PositiveInt = 250
    architecture: PixelConfig = PixelConfig()


def pretrain_pixel(folder: str | Path, settings: PixelSettings | None = None) -> Path:
    """Train an unconditional model and save it to ``folder``; run again, it goes on where it was.

    Work in progress lies in ``folder/.work``. Returns the folder, which stock diffusers loads.
    """
    settings = settings or PixelSettings()
    folder = Path(folder)
    torch.manual_seed(settings.seed)
    pipeline = build_ddpm(settings.architecture)
    seconds = train_ddpm(pipeline, settings, folder / ".work")
    pipeline.unet.half()  # which halves what everybody downloads
    save_model(pipeline, folder, "pixel", settings, {"U-Net": seconds})
    load_ddpm(folder)  # what was written must load
    return folder


def train_ddpm(pipeline: DDPMPipeline, settings: PixelSettings, work: Path) -> float:
    """Fit the U-Net to the noise of diffused renders (ε-prediction); return the seconds it took."""
    done = work / "unet.safetensors"
    unet, schedule = pipeline.unet, pipeline.scheduler
    trained = load_tensors(done)
    if trained is None:
        rendered = work / "pool.safetensors"
        if (found := load_tensors(rendered)) is None:
            size = settings.architecture.image_size
            images, _ = render_bytes(settings.domain, settings.pool, size)
            found = {"images": images}, {}
            save_tensors(found[0], rendered)
        pool = found[0]["images"]

        def loss(model: nn.Module, step: int) -> Tensor:
            seed = derive_seed(settings.seed, "pixel", batch_number(step))
            generator = torch.Generator().manual_seed(seed)
            rows = torch.randint(len(pool), (settings.batch_size,), generator=generator)
            clean = (pool[rows].float() / 127.5 - 1).to(unet.device)
            noisy, times, noise = noised_batch(schedule, clean, generator)
            return F.mse_loss(model(noisy, times).sample, noise)

        run = train(
            unet,
            loss,
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            ema_decay=0.999,
            checkpoint=work / "checkpoint.safetensors",
            checkpoint_every=settings.checkpoint_every,
            description=f"DDPM of {settings.domain}",
        )
        save_tensors(unet.state_dict(), done, {"seconds": str(run.seconds)})
    else:
        unet.load_state_dict(trained[0])
    unet.requires_grad_(False).eval()
    return seconds_of(done)
