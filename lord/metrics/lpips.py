"""LPIPS: how differently two pictures look, by the features of a network that names photographs.

d(x, y) = Σ_l mean_hw Σ_c w_lc (x̂_lhwc − ŷ_lhwc)² over five layers l of VGG-16, whose features are
scaled to length 1 at every place [Zhang et al., The Unreasonable Effectiveness of Deep Features as
a Perceptual Metric, 2018, equation 1]. 0 of equal pictures; the larger, the more they differ.

torchmetrics computes it with torchvision alone, which has to be built with the torch that is there.
Here are the same numbers without it: the features are those of torchvision's VGG-16, from a file of
safetensors on the hub, and the weights w those that come with torchmetrics.
"""

from pathlib import Path

import torch
import torchmetrics.functional.image
from safetensors import safe_open
from torch import Tensor, nn

BACKBONE = "timm/vgg16.tv_in1k"
REVISION = "3394518cba29aee1ea82a49d971be90d2dd1dab7"
"""Where the features come from on the Hugging Face hub: VGG-16 as torchvision has it, 550 MB."""

WEIGHTS = Path(torchmetrics.functional.image.__file__).parent / "lpips_models" / "vgg.pth"
"""The weights w, a file of torch, which is read as tensors alone."""

STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Of each stage: convolutions, and their channels; a pooling stands before every further stage."""

MEAN = (-0.030, -0.088, -0.188)
STD = (0.458, 0.448, 0.450)
"""Per-channel statistics of the pictures in [-1, 1] that the features have learned from."""

SMALLEST = 16
"""Side of a picture, in pixels, of which the last stage still sees something."""


class Lpips(nn.Module):
    """Pairs of pictures to their distances; features and weights are random until loaded."""

    def __init__(self) -> None:
        super().__init__()
        layers, self.taps, channels = [], [], 3
        for number, (count, width) in enumerate(STAGES):
            layers += [nn.MaxPool2d(2)] if number else []
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            self.taps.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        self.weights = nn.ParameterList(torch.rand(1, width, 1, 1) for _, width in STAGES)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances, shape (N,), of pictures (N, 3, H, W) in [0, 1] to others, one to one."""
        distance = images.new_zeros(len(images))
        for one, other, weight in zip(
            self.looks(images), self.looks(others), self.weights, strict=True
        ):
            distance += (weight * (one - other).square()).sum(1).mean((1, 2))
        return distance

    def looks(self, images: Tensor) -> list[Tensor]:
        """The features of each stage, (N, C, H, W), of length 1 at every place."""
        mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        hidden, found = (2 * images - 1 - mean) / std, []
        for number, layer in enumerate(self.features):
            hidden = layer(hidden)
            if number in self.taps:
                found.append(hidden / (hidden.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return found


def load_lpips(device: torch.device | str = "cpu") -> Lpips:
    """The network with its weights, frozen; those of the features are downloaded once.

    Raises:
        OSError: they are neither cached nor reachable.
    """
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(BACKBONE, "model.safetensors", revision=REVISION)
    except OSError as error:
        raise OSError(
            f"LPIPS needs model.safetensors of {BACKBONE} from the hub, which cannot be reached, "
            "and is not in the cache"
        ) from error
    network = Lpips()
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith("features.")]  # noqa: SIM118
        network.features.load_state_dict(
            {name.removeprefix("features."): file.get_tensor(name) for name in names}
        )
    stored = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    network.weights.load_state_dict(dict(zip("01234", stored.values(), strict=True)))
    return network.to(device).eval().requires_grad_(False)


@torch.inference_mode()
def lpips(network: Lpips, images: Tensor, others: Tensor) -> Tensor:
    """LPIPS of each pair of pictures, on the CPU, shape (N,); lower is more alike.

    Args:
        images, others: shape (N, 3, H, W) in [0, 1], of at least 16 pixels a side.

    Raises:
        ValueError: shapes that differ, or pictures that are too small.
    """
    if images.shape != others.shape or min(images.shape[2:]) < SMALLEST:
        raise ValueError(
            f"LPIPS: expected two sets of one shape, of at least {SMALLEST} pixels a side, not "
            f"{tuple(images.shape)} and {tuple(others.shape)}"
        )
    device = network.weights[0].device
    pairs = zip(images.split(1), others.split(1), strict=True)  # features are large
    return torch.cat([network(one.to(device), other.to(device)).cpu() for one, other in pairs])
