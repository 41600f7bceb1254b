"""What the gates of a LoRD make of clean and attacked images at each level of noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.adapter import record_gates, set_gate
from lord.models.diffusion import predict, training_schedule
from lord.models.pipeline import check_captions, check_images
from lord.seeding import derive_seed, noise
from lord.training.adapters import History, encode


@dataclass(frozen=True)
class GateProfile:
    """What the gate makes of clean and attacked images at each level of noise.

    Attributes:
        timesteps: shape (T,).
        clean, attacked: λ, averaged over layers and tokens, shape (T, N).
    """

    timesteps: Tensor
    clean: Tensor
    attacked: Tensor

    @property
    def accuracy(self) -> float:
        """How often λ > ½ is right, over all timesteps and images, as a share."""
        right = torch.cat((self.clean <= 0.5, self.attacked > 0.5))
        return right.float().mean().item()

    @property
    def series(self) -> History:
        """Mean and quartiles of λ over images, against ``timestep``: ``clean_mean``, ``…_low``."""
        series = {"timestep": self.timesteps.tolist()}
        for name, gates in (("clean", self.clean), ("attacked", self.attacked)):
            series[f"{name}_mean"] = gates.mean(1).tolist()
            series[f"{name}_low"] = gates.quantile(0.25, dim=1).tolist()
            series[f"{name}_high"] = gates.quantile(0.75, dim=1).tolist()
        return series


@torch.no_grad()
def gate_profile(
    pipeline: StableDiffusionPipeline,
    clean_images: Tensor,
    attacked_images: Tensor,
    captions: Sequence[str],
    levels: int = 20,
    seed: int = 0,
) -> GateProfile:
    """The learned gate's λ on clean and attacked images at evenly spaced timesteps.

    An image has its own noise at every timestep, the same for its clean and attacked version.

    Args:
        clean_images, attacked_images, captions: as for `train_defence`.
        levels: how many timesteps.

    Raises:
        ValueError: bad images or captions, or the pipeline has no defence.
    """
    unet = pipeline.unet
    for images in (clean_images, attacked_images):
        check_images(images)
        check_captions(captions, images)
    schedule = training_schedule(pipeline)
    steps = schedule.config.num_train_timesteps
    timesteps = (torch.arange(levels) + 0.5).mul(steps / levels).long()
    set_gate(unet, "learned")
    profiles = []
    for images in (clean_images, attacked_images):
        latents, text = encode(pipeline, images, captions)
        rows = []
        for time in timesteps:
            seeds = [derive_seed(seed, "gate", int(time), i) for i in range(len(latents))]
            epsilon = noise(seeds, latents.shape[1:], latents.device)
            times = time.expand(len(latents)).to(latents.device)
            with record_gates(unet) as gates:
                predict(unet, schedule.add_noise(latents, epsilon, times), times, text)
            rows.append(gates.per_sample().mean(dim=(0, 1)).float().cpu())
        profiles.append(torch.stack(rows))
    return GateProfile(timesteps, *profiles)
