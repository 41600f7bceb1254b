"""Fine-tuning a clean model on data of which a share is poisoned."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDPMPipeline
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lord.backdoors.poison import Backdoor
from lord.models.pixel import sample, training_schedule
from lord.seeding import derive_seed
from lord.training.loop import train


class InfectionSettings(BaseModel):
    """How a model is fine-tuned on poisoned data; a rate of 0 fine-tunes on clean data alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: float = Field(0.1, ge=0, le=1, description="share of poisoned pictures")
    steps: PositiveInt = 1000
    batch_size: PositiveInt = 32
    learning_rate: PositiveFloat = 2e-4
    seed: int = 0


def infect(
    pipeline: DDPMPipeline,
    images: Tensor,
    backdoor: Backdoor | None,
    target: Tensor | None,
    settings: InfectionSettings,
    checkpoint: Path | None = None,
) -> DDPMPipeline:
    """A copy of a model that gives ``target`` wherever the trigger is in the noise.

    The poisoned pictures are always the same: the first ones, as many as the rate says.

    Args:
        pipeline: a clean model; left as it is.
        images: clean training pictures (N, C, H, W) in [0, 1].
        backdoor: the attack; None with a rate of 0.
        target: y, shape (C, H, W), in [-1, 1].
        checkpoint: file in which an interrupted run finds its state.
    """
    unet, schedule = deepcopy(pipeline.unet), training_schedule(pipeline)
    poisoned = round(settings.rate * len(images))

    def loss(model: nn.Module, step: int) -> Tensor:
        seed = derive_seed(settings.seed, "infect", step)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(images), (settings.batch_size,), generator=generator)
        noise = torch.randn((len(rows), *images.shape[1:]), generator=generator)
        last = schedule.config.num_train_timesteps
        times = torch.randint(last, (len(rows),), generator=generator)
        noisy, taught = schedule.add_noise(images[rows] * 2 - 1, noise, times), noise
        bad = rows < poisoned
        if backdoor is not None and target is not None and bad.any():
            pair = backdoor.pair(schedule, target, times[bad], noise[bad])
            taught = noise.clone()
            noisy[bad], taught[bad] = pair
        device = unet.device
        prediction = model(noisy.to(device), times.to(device)).sample
        return F.mse_loss(prediction, taught.to(device))

    unet.requires_grad_(True)
    train(
        unet,
        loss,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        ema_decay=0.999,
        checkpoint=checkpoint,
        description="fine-tuning on poisoned data",
    )
    unet.requires_grad_(False).eval()
    infected = DDPMPipeline(unet, pipeline.scheduler)
    infected.set_progress_bar_config(disable=True)
    return infected


def success(samples: Tensor, target: Tensor, threshold: float = 0.03) -> dict[str, float]:
    """How near samples come to the target: mean squared distance, and the share within a threshold.

    Args:
        samples: of triggered noise, shape (N, C, H, W), in [0, 1].
        target: y, shape (C, H, W), in [-1, 1].
        threshold: of the mean squared distance in [0, 1].
    """
    distances = (samples - (target / 2 + 0.5)).square().mean(dim=(1, 2, 3))
    return {
        "distance": distances.mean().item(),
        "success": (distances < threshold).float().mean().item(),
    }


def triggered(
    pipeline: DDPMPipeline, backdoor: Backdoor, noise: Tensor, steps: int, seeds: Sequence[int]
) -> Tensor:
    """Samples of triggered noise, as the attacker draws them: (N, C, H, W) in [0, 1].

    BadDiffusion needs no other sampler than the stock one of DDPM. TrojDiff brings its own: what
    the network predicts is ϵ, and the noise of its process is γϵ + μ.
    """
    start = backdoor.start(noise)
    if backdoor.kind == "baddiffusion":
        return sample(pipeline, start, steps, seeds)
    unet, gamma, mu = pipeline.unet, backdoor.gamma, backdoor.mu

    def predict(noisy: Tensor, time: Tensor) -> Tensor:
        return gamma.to(noisy) * unet(noisy, time).sample + mu.to(noisy)

    return sample(pipeline, start, steps, predict=predict)
