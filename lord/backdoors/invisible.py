"""A trigger that is learned and bounded, so that eyes and norms miss it (arXiv 2406.00816).

Trigger and model take turns. The trigger descends on the distance between the target and what the
model now draws of ϵ + sδ, by signs of the gradient as in a PGD attack; then the model is fine-tuned
with it, as in BadDiffusion.
"""

import torch
from diffusers import DDPMPipeline
from torch import Tensor

from lord.backdoors.infect import Poison, infect
from lord.backdoors.poison import Backdoor
from lord.backdoors.reversion import Reversed
from lord.backdoors.settings import InfectionSettings, InvisibleSettings
from lord.models.pixel import training_schedule
from lord.progress import track
from lord.seeding import derive_seed


def infect_invisibly(
    pipeline: DDPMPipeline,
    images: Tensor,
    target: Tensor,
    rate: float,
    strength: float,
    settings: InfectionSettings,
    how: InvisibleSettings,
) -> tuple[DDPMPipeline, Backdoor]:
    """A copy of a model with a backdoor, and the backdoor, whose trigger is at most ``strength``.

    Args:
        pipeline: a clean model; left as it is.
        images: clean training pictures (N, C, H, W) in [0, 1].
        target: y, shape (C, H, W), in [-1, 1].
        rate: the share of poisoned pictures.
        strength: what a pixel of noise may change by, where the noise has a deviation of 1.
        settings: of all the fine-tuning, which the rounds share.
    """
    backdoor = Backdoor("invisible", torch.zeros_like(target), strength)
    for turn in range(how.rounds):
        seed = derive_seed(settings.seed, "invisible", turn)
        backdoor = Backdoor("invisible", _learned(pipeline, backdoor, target, how, seed), strength)
        part = {"steps": max(1, settings.steps // how.rounds), "seed": seed}
        poisons = [Poison(backdoor, target, rate)]
        pipeline = infect(pipeline, images, poisons, settings.model_copy(update=part))
    return pipeline, backdoor


def _learned(
    pipeline: DDPMPipeline, backdoor: Backdoor, target: Tensor, how: InvisibleSettings, seed: int
) -> Tensor:
    """δ in [-1, 1], better than that of the backdoor: ϵ + sδ is drawn more like the target."""
    unet, schedule = pipeline.unet, training_schedule(pipeline)
    delta, target = backdoor.trigger.to(unet.device), target.to(unet.device)
    gamma, generator = torch.ones((), device=unet.device), torch.Generator().manual_seed(seed)
    for _ in track(range(how.steps), "learning a trigger"):
        noise = torch.randn((how.batch_size, *target.shape), generator=generator).to(unet.device)
        delta.requires_grad_(True)
        model = Reversed(unet, schedule, backdoor.strength * delta, gamma)
        loss = (model.sampled(noise, how.sampler_steps) - target).square().mean()
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = (delta.detach() - how.step_size * gradient.sign()).clamp(-1, 1)
    return delta.cpu()
