"""Fréchet distance between two sets of images, through torchmetrics.

FID = |μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2(Σ₁Σ₂)^½) over the mean and covariance of image features [Heusel
et al., GANs Trained by a Two Time-Scale Update Rule, 2017, equation 6]. With the features of
`lord.metrics.features.FeatureNet` the value is called ``fid_embedded``; with Inception v3 it is
``fid_inception``. The two live on different scales and are never compared.

Features are computed once per image set with `extract` and may be reused in any number of
distances. The estimate is biased upwards for small sets: report the distance between two disjoint
clean sets of the same sizes beside every value.
"""

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from lord.models.memory import BATCH


class Precomputed(nn.Identity):
    """Stands in for a feature network where the features are known already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features


@torch.inference_mode()
def extract(network: nn.Module, images: Tensor, batch_size: int = BATCH) -> Tensor:
    """Features of every image, float64, on the CPU, shape (N, D).

    Args:
        network: maps a batch of images to features, shape (N, D): a ``FeatureNet`` or the result
            of `inception`.
        images: shape (N, 3, H, W), in [0, 1].
        batch_size: images per forward pass.
    """
    tensors = (*network.parameters(), *network.buffers())
    device = tensors[0].device if tensors else torch.device("cpu")
    batches = [network(batch.to(device)).double().cpu() for batch in images.split(batch_size)]
    return torch.cat(batches)


def fid(reference: Tensor, samples: Tensor) -> float:
    """Fréchet distance between two sets of features.

    Args:
        reference: features of clean images, shape (N, D), see `extract`.
        samples: features of the images to judge, shape (M, D).

    Raises:
        ValueError: a set has fewer than two rows, the widths differ, or a feature is not finite.
    """
    if reference.ndim != 2 or samples.ndim != 2 or reference.shape[1] != samples.shape[1]:
        raise ValueError(
            "both sets must be feature matrices of one width, got shapes "
            f"{tuple(reference.shape)} and {tuple(samples.shape)}"
        )
    for name, features in (("reference", reference), ("samples", samples)):
        if len(features) < 2:
            raise ValueError(f"{name}: FID needs at least two images, got {len(features)}")
        if not features.isfinite().all():
            raise ValueError(f"{name}: features are not finite")
    metric = FrechetInceptionDistance(feature=Precomputed(reference.shape[1]), normalize=True)
    metric.set_dtype(torch.float64)
    metric.update(reference.double(), real=True)
    metric.update(samples.double(), real=False)
    # The true distance is never negative; rounding can leave -1e-13 for two equal sets.
    return max(0.0, float(metric.compute()))


class _Inception(nn.Module):
    """torchmetrics' Inception v3, which takes bytes, behind our images in [0, 1]."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images.clamp(0, 1) * 255).round().byte())


def inception() -> nn.Module:
    """The Inception v3 of the original FID, 2048 features, downloaded on first use.

    Raises:
        ModuleNotFoundError: torch-fidelity is not installed, or not a torchvision that goes with
            the torch that is.
    """
    try:
        metric = FrechetInceptionDistance(feature=2048)
    except (ModuleNotFoundError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "torchvision" not in str(error):
            raise
        raise ModuleNotFoundError(
            "fid_inception needs torch-fidelity, and the torchvision that was built with "
            f"torch {torch.__version__}; in the folder of this package: {install_hub()}"
        ) from error
    return _Inception(metric.inception)


def install_hub() -> str:
    """What brings the networks' libraries, torchvision of the same build as torch among them."""
    build = torch.__version__.partition("+")[2]
    index = f" --extra-index-url https://download.pytorch.org/whl/{build}" if build else ""
    return f"pip install -e '.[hub]'{index}"
