"""Reversing a trigger out of a model: both stages of TERD (Mo et al., arXiv 2409.05294).

Whatever an attacker teaches at x_t = a_t x + b_t ϵ + c_t r, two noises of one image and one time
differ by what the network says of them: the unknown regression target cancels. So the trigger is
where ε_θ takes the difference of two noises for the difference of two noises,

    L(μ, γ) = ½ E‖(ϵ₁ − ε_θ(x¹, t)) − (ϵ₂ − ε_θ(x², t))‖² − λ‖μ‖₁,
    xⁱ = √ᾱ_t x + √(1−ᾱ_t) γϵ_i + μ.
"""

import math
from dataclasses import dataclass, field

import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lord.backdoors.settings import ReversionSettings
from lord.models.pixel import noise_shape, predicted_noise, training_schedule
from lord.progress import track
from lord.seeding import derive_seed

ENDS = 10
"""The last and the first so many times, which the loss is taken at."""


@dataclass
class Reversion:
    """What was found, and the way there.

    Attributes:
        mu: μ̂, shape (C, H, W).
        gamma: γ̂, which is 1 where it is not estimated.
        path: μ̂ at every look, with the steps done by then.
        losses: of every step, without the norm.
    """

    mu: Tensor
    gamma: Tensor
    path: list[tuple[int, Tensor]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def reverse(pipeline: DDPMPipeline, settings: ReversionSettings) -> Reversion:
    """Reverse the trigger of a model, or what looks most like one in a clean model.

    Raises:
        FloatingPointError: the trigger is not finite.
    """
    unet = pipeline.unet
    mu = first_trigger(pipeline, settings).to(unet.device).requires_grad_(True)
    estimated = settings.estimate_gamma
    gamma = torch.tensor(0.0 if estimated else 1.0, device=unet.device, requires_grad=estimated)
    found = Reversion(mu, gamma)
    model = Reversed(unet, training_schedule(pipeline), mu, gamma)
    _descend(model, found, settings, "prior", settings.steps)
    _descend(model, found, settings, "refined", settings.refine_steps)
    found.mu, found.gamma = mu.detach().cpu(), gamma.detach().cpu()
    if not (found.mu.isfinite().all() and found.gamma.isfinite()):
        raise FloatingPointError(
            "the reversed trigger is not finite; lower the learning rate, or check the model"
        )
    return found


def first_trigger(pipeline: DDPMPipeline, settings: ReversionSettings) -> Tensor:
    """Where the search starts, shape (C, H, W): plus or minus uniform numbers below 1."""
    generator = torch.Generator().manual_seed(derive_seed(settings.seed, "trigger"))
    start = torch.rand(noise_shape(pipeline), generator=generator)
    return -start if settings.start == "negative" else start


@dataclass
class Reversed:
    """The reversed loss of a model at a trigger, whose gradient is taken with respect to it."""

    unet: UNet2DModel
    schedule: DDPMScheduler
    mu: Tensor
    gamma: Tensor

    def loss(self, images: Tensor, times: Tensor, noises: Tensor, shifted: bool = True) -> Tensor:
        """½ mean over images of ‖(ϵ₁ − ε_θ(x¹, t)) − (ϵ₂ − ε_θ(x², t))‖².

        Args:
            images: x, shape (N, C, H, W), in [-1, 1] or standing in for such.
            times: t, shape (N,).
            noises: ϵ₁ and ϵ₂, shape (2, N, C, H, W).
            shifted: whether μ is added, as at the last times; at the first it has no part.
        """
        alpha_bar = self.schedule.alphas_cumprod.to(times.device)[times].view(-1, 1, 1, 1)
        noisy = alpha_bar.sqrt() * images + (1 - alpha_bar).sqrt() * self.gamma * noises
        noisy = (noisy + self.mu if shifted else noisy).flatten(0, 1)
        predictions = predicted_noise(self.unet, self.schedule, noisy, times.repeat(2))
        first, second = noises - predictions.view_as(noises)
        return (first - second).square().sum() / 2 / len(images)

    def sampled(self, noise: Tensor, steps: int) -> Tensor:
        """What ``steps`` of DDIM make of μ + γϵ, (N, C, H, W); differentiable in μ and γ.

        The activations of a step are computed again on the way back, so that memory does not grow
        with the number of steps.
        """
        ddim = DDIMScheduler.from_config(
            self.schedule.config, timestep_spacing="trailing", clip_sample=False
        )
        ddim.set_timesteps(steps)

        def step(x: Tensor, time: Tensor) -> Tensor:
            return ddim.step(self.unet(x, time).sample, time, x).prev_sample

        x = self.mu + self.gamma * noise
        for time in ddim.timesteps:
            x = checkpoint(step, x, time, use_reentrant=False)
        return x


def _descend(
    model: Reversed, found: Reversion, settings: ReversionSettings, stage: str, steps: int
) -> None:
    """One stage: with noise for images at the last times, or refined by images of the sampler."""
    done = found.path[-1][0] if found.path else 0
    before = model.mu.detach().clone()
    for step in track(range(steps), f"reversing, {stage}"):
        generator = torch.Generator().manual_seed(derive_seed(settings.seed, stage, step))
        loss = _loss(model, settings, stage, generator)
        mu, gamma = model.mu, model.gamma
        norm = settings.weight * mu.abs().sum()
        gradients = torch.autograd.grad(loss - norm, [mu, gamma] if gamma.requires_grad else [mu])
        rate = (1 + math.cos(math.pi * step / steps)) / 2
        with torch.no_grad():
            bound = settings.clip / gradients[0].norm() if stage == "refined" else 1.0
            mu -= rate * settings.learning_rate * min(bound, 1.0) * gradients[0]
            if gamma.requires_grad:
                gamma -= rate * settings.gamma_learning_rate * gradients[1]
                gamma.clamp_(min=0)
        found.losses.append(loss.item())
        if (step + 1) % settings.window == 0 or step + 1 == steps:
            now = mu.detach().clone()
            found.path.append((done + step + 1, now.cpu()))
            if (now - before).norm() < settings.tolerance * now.norm():
                return
            before = now


def _loss(
    model: Reversed, settings: ReversionSettings, stage: str, generator: torch.Generator
) -> Tensor:
    """The loss of one step, whose noises and times all come from the generator."""
    count, device = settings.batch_size, model.mu.device

    def normal(*lead: int) -> Tensor:
        return torch.randn((*lead, count, *model.mu.shape), generator=generator).to(device)

    def times(low: int) -> Tensor:
        return torch.randint(low, low + ENDS, (count,), generator=generator).to(device)

    last = model.schedule.config.num_train_timesteps - ENDS
    if stage == "prior":
        return model.loss(normal(), times(last), normal(2))
    images = model.sampled(normal(), settings.sampler_steps)
    late = model.loss(images, times(last), normal(2))
    return (late + model.loss(images, times(0), normal(2), shifted=False)) / 2
