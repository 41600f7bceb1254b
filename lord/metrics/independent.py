"""Judges that have seen none of the damage.

The main metrics look through networks that have learned the very degradations they measure. Here
are four that have not. Three look through `lord.metrics.imagenet`, a network that names
photographs: the Fréchet distance and the kernel distance of its features, and what
`lord.metrics.reader` reads off them of a subject's identity. The distance to the nearest clean
photograph by multiscale SSIM was learned by nobody.

Beside each value belong a floor and a ceiling at the same sizes: what clean pictures of the same
subject score, and clean pictures of somebody or somewhere else.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from kornia.color import rgb_to_grayscale
from torch import Tensor, nn
from torchmetrics.image.kid import KernelInceptionDistance

from lord.metrics.edits import similarities
from lord.metrics.fid import Precomputed, extract, fid
from lord.metrics.reader import share_read
from lord.seeding import derive_seed

SUBSETS = 100
"""Draws of as many references as there are samples; the kernel distance is the mean over them."""

NEAREST = 16
"""Clean photographs among which the nearest one is looked for."""


@dataclass(frozen=True)
class IndependentReference:
    """What samples of one subject are compared with, to be reused for every condition.

    Attributes:
        features: of clean references after the VAE, shape (N, D).
        photographs: clean references as they are, shape (M, 3, H, W) in [0, 1].
        reader: from `lord.metrics.reader.fit_reader`; empty if nobody knows the attributes.
        identity: value index of each identity attribute of the subject.
    """

    features: Tensor
    photographs: Tensor
    reader: Mapping[str, Tensor] = field(default_factory=dict)
    identity: Mapping[str, int] = field(default_factory=dict)


def measure_independently(
    network: nn.Module, samples: Tensor, reference: IndependentReference
) -> dict[str, float]:
    """What each judge says of samples.

    Returns:
        ``fid_imagenet``, ``kid_imagenet`` and ``ms_ssim_distance``, lower is better; and, where a
        reader is there, ``imagenet_identity``, the share of the subject's attributes that are read
        off samples, in [0, 1]: higher is better.

    Args:
        network: from `lord.metrics.imagenet.load_imagenet`.
        samples: at least two, shape (N, 3, H, W) in [0, 1], of the size of the photographs.
    """
    features = extract(network, samples)
    found = {
        "fid_imagenet": fid(*in_their_span(reference.features, features)),
        "kid_imagenet": kid(reference.features, features),
        "ms_ssim_distance": ms_ssim_distance(samples, reference.photographs).mean().item(),
    }
    if reference.reader:
        read = share_read(reference.reader, features, reference.identity)
        found["imagenet_identity"] = read.mean().item()
    return found


def in_their_span(reference: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Two sets of features (N, D), (M, D) in an orthonormal basis of all their rows.

    Nothing leaves the span of the rows, so every distance is kept, in min(N + M, D) numbers; the
    Fréchet distance of few images in many features takes a tenth of the time.
    """
    basis = torch.linalg.qr(torch.cat([reference, samples]).double().T).Q
    return reference.double() @ basis, samples.double() @ basis


def kid(reference: Tensor, samples: Tensor) -> float:
    """Kernel distance between two sets of features (N, D), (M, D), through torchmetrics.

    The squared maximum mean discrepancy by the kernel (x·y/D + 1)³, in its unbiased estimate, so
    that it does not grow as sets get smaller, and can be below 0 [Bińkowski et al., Demystifying
    MMD GANs, 2018, section 4]. The mean over `SUBSETS` draws of equally many rows of both.

    Raises:
        ValueError: a set has fewer than two rows.
    """
    size = min(len(reference), len(samples))
    if size < 2:
        raise ValueError(f"a kernel distance needs at least two images of each, got {size}")
    feature = Precomputed(reference.shape[1])
    with warnings.catch_warnings():  # torchmetrics warns of memory for large sets
        warnings.simplefilter("ignore")
        metric = KernelInceptionDistance(feature, SUBSETS, size, normalize=True)
    metric.set_dtype(torch.float64)
    metric.update(reference.double(), real=True)
    metric.update(samples.double(), real=False)
    with torch.random.fork_rng(devices=[]):  # which rows: the same ones every time
        torch.manual_seed(derive_seed("kid"))
        return float(metric.compute()[0])


def ms_ssim_distance(samples: Tensor, photographs: Tensor) -> Tensor:
    """1 − MS-SSIM of each sample to the photograph that is most like it, shape (N,), in [0, 1].

    Of luminances, as it was defined [Wang et al., Multiscale Structural Similarity for Image
    Quality Assessment, 2003]; see `lord.metrics.edits.similarities` for its scales. It does
    not follow every degradation: of two pictures that do not show the same, the smoother one is
    more like a third, so blur may count as an improvement.

    Args:
        samples, photographs: shapes (N, 3, H, W) and (M, 3, H, W) in [0, 1].
    """
    grey, others = rgb_to_grayscale(samples), rgb_to_grayscale(photographs)
    alike = [similarities(one.expand_as(others), others)["ms_ssim"].max() for one in grey]
    return 1 - torch.stack(alike)
