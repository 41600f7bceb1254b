"""What the gates of a LoRD make of clean and attacked images at each level of noise."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lord.adapter import GateRecord, record_gates, set_gate
from lord.models.diffusion import Pipeline, predict, training_schedule
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
        """The `quartiles` of λ, against ``timestep``."""
        series = {"timestep": self.timesteps.tolist()}
        return series | quartiles("clean", self.clean) | quartiles("attacked", self.attacked)


def quartiles(name: str, gates: Tensor) -> History:
    """Mean and quartiles over images of λ, shape (T, N): ``<name>_mean``, ``…_low``, ``…_high``."""
    return {
        f"{name}_mean": gates.mean(1).tolist(),
        f"{name}_low": gates.quantile(0.25, dim=1).tolist(),
        f"{name}_high": gates.quantile(0.75, dim=1).tolist(),
    }


@torch.no_grad()
def gates_by_timestep(
    pipeline: Pipeline,
    images: Tensor,
    captions: Sequence[str],
    levels: int,
    seeds: Callable[[int], Sequence[int]],
    share: float = 1.0,
) -> Iterator[tuple[int, GateRecord]]:
    """What the learned gates compute on noised images, timestep by timestep, evenly spaced.

    Args:
        images: float, shape (N, 3, H, W) in [0, 1].
        levels: how many timesteps.
        seeds: of each image's noise, given the timestep.
        share: of the schedule, from the least noise on, that the timesteps cover.

    Raises:
        ValueError: bad images or captions, or the pipeline has no LoRD adapter.
    """
    check_images(images)
    check_captions(captions, images)
    set_gate(pipeline.unet, "learned")
    schedule = training_schedule(pipeline)
    steps = schedule.config.num_train_timesteps * share
    latents, text = encode(pipeline, images, captions)
    for time in (torch.arange(levels) + 0.5).mul(steps / levels).long().tolist():
        epsilon = noise(seeds(time), latents.shape[1:], latents.device)
        times = torch.full((len(images),), time, device=latents.device)
        with record_gates(pipeline.unet) as gates:
            predict(pipeline.unet, schedule.add_noise(latents, epsilon, times), times, text)
        yield time, gates


def gate_profile(
    pipeline: Pipeline,
    clean_images: Tensor,
    attacked_images: Tensor,
    captions: Sequence[str],
    levels: int = 20,
) -> GateProfile:
    """The learned gate's λ on clean and attacked images at evenly spaced timesteps.

    An image has its own noise at every timestep, the same for its clean and attacked version.

    Args:
        clean_images, attacked_images, captions: as for `train_defence`.
        levels: how many timesteps.

    Raises:
        ValueError: see `gates_by_timestep`.
    """

    def seeds(time: int) -> list[int]:
        return [derive_seed(0, "gate", time, i) for i in range(len(clean_images))]

    profiles = []
    for images in (clean_images, attacked_images):
        found = dict(gates_by_timestep(pipeline, images, captions, levels, seeds))
        rows = [gates.per_sample().mean(dim=(0, 1)).float().cpu() for gates in found.values()]
        profiles.append(torch.stack(rows))
    return GateProfile(torch.tensor(list(found)), *profiles)
