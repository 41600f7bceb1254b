"""What an attack wants: one number per image, which the perturbation is to raise.

Each function is the formula of one attack, as a function of what `Draw` holds: the latents z of
the attacked images, a noise ϵ and timestep t for each, the denoiser and the target. All names are
those of the papers; `lord.attacks` turns them into perturbations.

The papers know models that predict the noise. Of a model that predicts the velocity
v = √ᾱ_t ϵ − √(1−ᾱ_t) z, the formulas hold with v_θ and v in the place of ε_θ and ϵ: what is raised
or driven to a target is what the model's training lowers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from lord.models.conditioning import Conditioning, concatenate
from lord.models.diffusion import (
    Pipeline,
    noised,
    predict,
    row_errors,
    training_schedule,
    training_target,
)
from lord.models.pipeline import decode_latents, encode_images, unconditional

ENCODER_WEIGHT = 1e2
"""α in front of the mean squared distance of latents: the weight in mist-v2, whose README names the
paper of ACE (arXiv:2310.04687) as its own."""

EDIT_STEPS, EDIT_GUIDANCE, EDIT_STRENGTH = 4, 7.5, 0.7
"""How the diffusion attack edits an image: sampler steps, guidance, share of the schedule."""


@dataclass(frozen=True)
class Target:
    """Where a targeted attack drives the model: an image (1, 3, H, W) and its latents z_T."""

    image: Tensor
    latents: Tensor


@dataclass(frozen=True)
class Draw:
    """A batch of N images at one timestep and noise each.

    Attributes:
        pipeline: whose VAE and forward process are attacked.
        unet: the denoiser: the pipeline's own, or a surrogate.
        latents: z, shape (N, C, h, w), differentiable in the images.
        noisy: z_t = √ᾱ_t z + √(1−ᾱ_t) ϵ, of the same shape.
        times: t, shape (N,).
        noise: ϵ, of the shape of z.
        goal: what the model learned to predict, of the shape of z: ϵ, or the velocity v.
        text: c, one row per image, in the U-Net's precision.
        target: None for an attack without one.
    """

    pipeline: Pipeline
    unet: UNet2DConditionModel
    latents: Tensor
    noisy: Tensor
    times: Tensor
    noise: Tensor
    goal: Tensor
    text: Conditioning
    target: Target | None

    @cached_property
    def prediction(self) -> Tensor:
        """ε_θ(z_t, t, c) or v_θ, of the shape of z; computed only where it is asked for."""
        return predict(self.unet, self.noisy, self.times, self.text)

    @cached_property
    def distance(self) -> Tensor:
        """(z − z_T)², of the shape of z."""
        return (self.latents - self.target.latents).square()


def make_draw(
    pipeline: Pipeline,
    images: Tensor,
    text: Conditioning,
    seeds: Sequence[int],
    unet: UNet2DConditionModel | None = None,
    target: Target | None = None,
    times: Tensor | None = None,
) -> Draw:
    """Encode images (N, 3, H, W) in [0, 1] once, and noise them, by one seed each."""
    latents = encode_images(pipeline, images)
    return draw_of(pipeline, latents, text, seeds, unet, target, times)


def draw_of(
    pipeline: Pipeline,
    latents: Tensor,
    text: Conditioning,
    seeds: Sequence[int],
    unet: UNet2DConditionModel | None = None,
    target: Target | None = None,
    times: Tensor | None = None,
) -> Draw:
    """Noise latents (N, C, h, w), by one seed each.

    Noising and everything after the U-Net is computed in single precision at least, whatever the
    model's.

    Args:
        times: shape (N,); uniform over the schedule where none are given.
    """
    unet = unet or pipeline.unet
    latents = latents.to(torch.promote_types(latents.dtype, torch.float32))
    schedule = training_schedule(pipeline)
    noisy, times, noise = noised(schedule, latents, seeds, times)
    goal = training_target(schedule, latents, noise, times)
    return Draw(pipeline, unet, latents, noisy, times, noise, goal, text.to(unet.dtype), target)


def advdm(draw: Draw) -> Tensor:
    """mean‖ε_θ(z_t) − ϵ‖²: the image no longer fits the model.

    AdvDM: Liang et al., arXiv:2302.04578. FSMG and ASPL (Anti-DreamBooth: Van Le et al.,
    arXiv:2303.15433) raise the same number, for a model that has learnt the images; MetaCloak (Liu
    et al., arXiv:2311.13127) does for several, as they learn, through transformations, and
    `lord.attacks.simac` at chosen timesteps, beside another term.
    """
    return row_errors(draw.prediction, draw.goal)


def encoder(draw: Draw) -> Tensor:
    """−mean‖z − z_T‖²: the image is encoded as the target.

    PhotoGuard's encoder attack: Salman et al., arXiv:2302.06588.
    """
    return -draw.distance.mean(dim=(1, 2, 3))


def diffusion(draw: Draw) -> Tensor:
    """−‖SD(x) − x_T‖: what the model makes of the image looks like the target.

    PhotoGuard's diffusion attack (arXiv:2302.06588), with the gradient through every step of a
    short sampler that starts from the noised image.
    """
    return -(edit(draw) - draw.target.image).flatten(1).norm(dim=1)


def mist(draw: Draw) -> Tensor:
    """10⁴ · mean‖ε_θ(z_t) − ϵ‖² − ‖z − z_T‖² (Liang and Wu, arXiv:2305.12683)."""
    return 1e4 * advdm(draw) - draw.distance.sum(dim=(1, 2, 3))


def sds_minus(draw: Draw) -> Tensor:
    """−⟨ε_θ(z_t) − ϵ, z⟩ with the first factor held fixed.

    The gradient is −J_Eᵀ(ε_θ − ϵ): the image moves where the model finds it *more* likely, and
    nothing is propagated back through the U-Net. Xue et al., arXiv:2311.12832.
    """
    return -sds_plus(draw)


def sds_plus(draw: Draw) -> Tensor:
    """⟨ε_θ(z_t) − ϵ, z⟩ with the first factor held fixed (arXiv:2311.12832)."""
    with torch.no_grad():
        residual = predict(draw.unet, draw.noisy, draw.times, draw.text) - draw.goal
    return (residual * draw.latents).mean(dim=(1, 2, 3))


def ace(draw: Draw) -> Tensor:
    """−mean‖ε_θ(z_t) − z_T‖²: every noise prediction is driven to one target.

    ACE: Zheng et al., "Targeted attack improves protection against unauthorized diffusion
    customization", arXiv:2310.04687.
    """
    return -row_errors(draw.prediction, draw.target.latents.expand_as(draw.prediction))


def ace_plus(draw: Draw) -> Tensor:
    """ACE − α · mean‖z − z_T‖²: the latents are driven to the target as well (arXiv:2310.04687)."""
    return ace(draw) - ENCODER_WEIGHT * draw.distance.mean(dim=(1, 2, 3))


def mist_v2_fused(draw: Draw) -> Tensor:
    """α · mean‖z − z_T‖² − Σ ε_θ(z_t) · ϵ: the "fused" mode in the code of mist-v2.

    mist-v2 is the repository of ACE's authors, but this is not ACE+. The first term drives the
    latents *away* from the target; the second, a sum over all numbers of the latent, turns the
    prediction against the sampled noise and asks for no target. Before its revision 52bd657 the
    mode was −mean‖ε_θ − z_T‖² + α · mean‖z − z_T‖².
    """
    agreement = (draw.prediction * draw.goal).sum(dim=(1, 2, 3))
    return ENCODER_WEIGHT * draw.distance.mean(dim=(1, 2, 3)) - agreement


OBJECTIVES: dict[str, Callable[[Draw], Tensor]] = {
    "advdm": advdm,
    "encoder": encoder,
    "diffusion": diffusion,
    "mist": mist,
    "sds_minus": sds_minus,
    "sds_plus": sds_plus,
    "fsmg": advdm,
    "aspl": advdm,
    "simac": advdm,
    "metacloak": advdm,
    "ace": ace,
    "ace_plus": ace_plus,
    "mist_v2_fused": mist_v2_fused,
}
"""The objective of every attack, each from a `Draw` to shape (N,)."""


def edit(draw: Draw) -> Tensor:
    """Images (N, 3, H, W) that a short DDIM sampler makes of the noised images.

    SDEdit (Meng et al., arXiv:2108.01073): from z_t at ``EDIT_STRENGTH`` of the schedule back to 0,
    in `EDIT_STEPS` equal steps.
    """
    pipeline, unet = draw.pipeline, draw.unet
    # The sampler's schedule is the beginning of the model's; "trailing" steps start at its end.
    betas = training_schedule(pipeline).betas
    betas = betas[: round(EDIT_STRENGTH * len(betas))]
    sampler = DDIMScheduler.from_config(
        pipeline.scheduler.config,
        num_train_timesteps=len(betas),
        trained_betas=betas.tolist(),
        rescale_betas_zero_snr=False,
        timestep_spacing="trailing",
    )
    sampler.set_timesteps(EDIT_STEPS)
    times = sampler.timesteps.to(draw.latents.device)
    latents = sampler.add_noise(draw.latents, draw.noise, times[:1])
    empty = unconditional(pipeline).to(draw.text.text).expand(len(draw.text))
    both = concatenate([empty, draw.text])
    for time in times:
        pair = predict(unet, latents.repeat(2, 1, 1, 1), time.expand(2 * len(latents)), both)
        free, conditional = pair.chunk(2)
        guided = free + EDIT_GUIDANCE * (conditional - free)
        latents = sampler.step(guided, time, latents).prev_sample
    return decode_latents(pipeline, latents)
