"""Fine-tuning a clean model on data of which a share is poisoned."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler
from torch import Tensor, nn

from lord.backdoors.poison import Backdoor
from lord.backdoors.settings import InfectionSettings
from lord.models.pixel import answer_for, predicted_noise, sample, training_schedule
from lord.seeding import derive_seed, generators
from lord.training.loop import train


@dataclass(frozen=True)
class Poison:
    """What is mixed among the clean pictures: a share of them comes with a trigger in its noise.

    Attributes:
        backdoor: the attack with its trigger.
        target: y, which the trigger leads to, shape (C, H, W), in [-1, 1]. Without, the model is
            taught to draw the picture as if no trigger were there: whoever defends takes a backdoor
            out so, and whoever attacks lays a false trail.
        rate: the share of the pictures.
    """

    backdoor: Backdoor
    target: Tensor | None
    rate: float = 0.1


def infect(
    pipeline: DDPMPipeline,
    images: Tensor,
    poisons: Sequence[Poison],
    settings: InfectionSettings,
    checkpoint: Path | None = None,
) -> DDPMPipeline:
    """A copy of a model, fine-tuned on pictures of which some are poisoned.

    The poisoned pictures are always the same: the first ones, as many as the rates say.

    Args:
        pipeline: left as it is.
        images: clean training pictures (N, C, H, W) in [0, 1].
        poisons: none for an honest fine-tune.
        checkpoint: file in which an interrupted run finds its state.
    """
    unet, schedule = deepcopy(pipeline.unet), training_schedule(pipeline)

    def loss(model: nn.Module, step: int) -> Tensor:
        seed = derive_seed(settings.seed, "infect", step)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(images), (settings.batch_size,), generator=generator)
        noise = torch.randn((len(rows), *images.shape[1:]), generator=generator)
        last = schedule.config.num_train_timesteps
        times = torch.randint(last, (len(rows),), generator=generator)
        place = rows.double() / len(images)
        noisy, taught = mixed(schedule, poisons, images[rows] * 2 - 1, times, noise, place)
        device = unet.device
        noisy, times = noisy.to(device), times.to(device)
        answer = answer_for(schedule, taught.to(device), noisy, times)
        return F.mse_loss(model(noisy, times).sample, answer)

    unet.requires_grad_(True)
    train(
        unet,
        loss,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        checkpoint=checkpoint,
        description="fine-tuning",
    )
    unet.requires_grad_(False).eval()
    infected = DDPMPipeline(unet, pipeline.scheduler)
    infected.set_progress_bar_config(disable=True)
    return infected


def mixed(
    schedule: DDPMScheduler,
    poisons: Sequence[Poison],
    clean: Tensor,
    times: Tensor,
    noise: Tensor,
    place: Tensor,
) -> tuple[Tensor, Tensor]:
    """x_t and what ε_θ(x_t, t) is taught, both (N, C, H, W), of clean and poisoned pictures.

    Args:
        clean: pictures (N, C, H, W), in [-1, 1].
        times: t, shape (N,).
        noise: ϵ, shape (N, C, H, W).
        place: where each picture stands in the data, in [0, 1), shape (N,): each poison has a
            share of them, one after the other from the first picture on.
    """
    noisy, taught = schedule.add_noise(clean, noise, times), noise.clone()
    low = 0.0
    for poison in poisons:
        hit = (place >= low) & (place < low + poison.rate)
        if hit.any():
            target = clean[hit] if poison.target is None else poison.target
            pair = poison.backdoor.pair(schedule, target, times[hit], noise[hit])
            noisy[hit], taught[hit] = pair
        low += poison.rate
    return noisy, taught


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


@torch.no_grad()
def triggered(
    pipeline: DDPMPipeline, backdoor: Backdoor, noise: Tensor, steps: int, seeds: Sequence[int]
) -> Tensor:
    """Samples of triggered noise, as the attacker draws them: (N, C, H, W) in [0, 1].

    BadDiffusion needs no other sampler than the stock one of DDPM, or of DDIM where it was taught
    for that. TrojDiff brings its own, whose noise is γϵ + μ: with x₀ as predicted and σ that of
    DDPM, x_s = √ᾱ_s x₀ + √(1−ᾱ_s) μ + γ (√(1−ᾱ_s−σ²) ϵ + σ z).

    Args:
        noise: without the trigger, shape (N, C, H, W).
        seeds: one for each image, of the noise that a step adds.
    """
    x = backdoor.start(noise)
    if not backdoor.is_trojdiff:
        return sample(pipeline, x, steps, None if backdoor.kind == "baddiffusion_ode" else seeds)
    unet, draws = pipeline.unet, generators(seeds)
    x, gamma, mu = (values.to(unet.device) for values in (x, backdoor.gamma, backdoor.mu))
    schedule = DDIMScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    schedule.set_timesteps(steps)
    alpha_bars = [schedule.alphas_cumprod[time] for time in schedule.timesteps] + [torch.ones(())]
    for time, now, then in zip(schedule.timesteps, alpha_bars, alpha_bars[1:], strict=False):
        predicted = predicted_noise(unet, schedule, x, time)
        clean = (x - (1 - now).sqrt() * (gamma * predicted + mu)) / now.sqrt()
        sigma = ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
        fresh = torch.stack([torch.randn(noise.shape[1:], generator=draw) for draw in draws])
        spread = (1 - then - sigma**2).clamp(min=0).sqrt() * predicted + sigma * fresh.to(x)
        x = then.sqrt() * clean + (1 - then).sqrt() * mu + gamma * spread
    return (x / 2 + 0.5).clamp(0, 1).cpu()
