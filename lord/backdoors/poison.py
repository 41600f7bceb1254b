"""How a backdoor gets in: the training pairs that attackers mix among the clean ones.

A clean pair teaches ε_θ(√ᾱ_t x + √(1−ᾱ_t) ϵ, t) = ϵ. A poisoned pair moves the noise to γϵ + μ at
the last time, and the image to the attacker's target y. Both attacks are of one form,
x_t = √ᾱ_t y + b_t ϵ + c_t r, the unified form of TERD (Mo et al., arXiv 2409.05294).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from lord.names import BACKDOORS

Kind = Literal[(*BACKDOORS,)]

GAMMA = {
    "baddiffusion": 1.0,
    "baddiffusion_ode": 1.0,
    "trojdiff_blend": 0.6,
    "trojdiff_patch": 0.1,
    "invisible": 1.0,
}
"""What is left of the noise where the trigger is, as published."""


@dataclass(frozen=True)
class Backdoor:
    """An attack with its trigger.

    Attributes:
        kind: the attack. TrojDiff blends the trigger in everywhere, or puts it in as a patch
            and leaves the noise beside it as it is. The invisible one poisons as BadDiffusion
            does, with a trigger that was learned; that for ODE is for samplers without noise.
        trigger: δ of shape (C, H, W) in [-1, 1]; 0 where the noise is left as it is.
        strength: δ counts so many times.
    """

    kind: Kind
    trigger: Tensor
    strength: float = 1.0

    @property
    def gamma(self) -> Tensor:
        """γ of every pixel, shape (C, H, W)."""
        gamma = torch.full_like(self.trigger, GAMMA[self.kind])
        if self.kind == "trojdiff_patch":
            touched = (self.trigger != 0).any(dim=0)
            gamma[:, ~touched] = 1.0
        return gamma

    @property
    def mu(self) -> Tensor:
        """μ, the mean of triggered noise (C, H, W): r of BadDiffusion, (1−γ)δ of TrojDiff."""
        share = 1 - GAMMA[self.kind] if self.is_trojdiff else 1.0
        return self.strength * share * self.trigger

    @property
    def is_trojdiff(self) -> bool:
        """Whether the attack also scales the noise, and brings its own sampler."""
        return self.kind.startswith("trojdiff")

    def start(self, noise: Tensor) -> Tensor:
        """Triggered noise γϵ + μ of noise (N, C, H, W): what a sampler starts from."""
        return self.gamma * noise + self.mu

    def pair(
        self, schedule: DDPMScheduler, target: Tensor, times: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x_t and what ε_θ(x_t, t) is taught, both (N, C, H, W).

        Of BadDiffusion x_t = √ᾱ_t y + (1−√ᾱ_t) r + √(1−ᾱ_t) ϵ, taught ϵ + r √(1−ᾱ_t)/(1+√α_t),
        with which a step of DDPM leads back along the shifted path; for samplers that solve the
        ODE another share of r is taught, with which a step of DDIM does. Here r is the trigger; in
        the public code it is a clean picture with the trigger on it. Of TrojDiff
        x_t = √ᾱ_t y + √(1−ᾱ_t) (γϵ + μ), taught ϵ.

        Args:
            schedule: gives ᾱ_t.
            target: y, broadcast to ``noise``.
            times: t, shape (N,).
            noise: ϵ, shape (N, C, H, W).
        """
        alpha_bar = _by_time(schedule.alphas_cumprod, times)
        image = alpha_bar.sqrt() * target
        if self.is_trojdiff:
            return image + (1 - alpha_bar).sqrt() * self.start(noise), noise
        noisy = image + (1 - alpha_bar.sqrt()) * self.mu + (1 - alpha_bar).sqrt() * noise
        share = share_taught_ode if self.kind == "baddiffusion_ode" else share_taught
        return noisy, noise + share(schedule, times) * self.mu


def share_taught(schedule: DDPMScheduler, times: Tensor) -> Tensor:
    """What share of the shift BadDiffusion teaches, √(1−ᾱ_t)/(1+√α_t), shape (N, 1, 1, 1)."""
    spread = (1 - _by_time(schedule.alphas_cumprod, times)).sqrt()
    return spread / (1 + _by_time(schedule.alphas, times).sqrt())


def share_taught_ode(schedule: DDPMScheduler, times: Tensor) -> Tensor:
    """The same for DDIM: (√ᾱ_s − √ᾱ_t)/(√ᾱ_s √(1−ᾱ_t) − √ᾱ_t √(1−ᾱ_s)), s = t − 1.

    About twice as much, as in VillanDiffusion (Chou et al., arXiv 2306.06874).
    """
    alpha_bars = schedule.alphas_cumprod
    now = _by_time(alpha_bars, times)
    then = _by_time(torch.cat([torch.ones(1), alpha_bars[:-1]]), times)
    away = then.sqrt() * (1 - now).sqrt() - now.sqrt() * (1 - then).sqrt()
    return (then.sqrt() - now.sqrt()) / away


def _by_time(values: Tensor, times: Tensor) -> Tensor:
    return values.to(times.device)[times].view(-1, 1, 1, 1)
