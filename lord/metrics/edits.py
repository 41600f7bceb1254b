"""What an attack did to an edit, through torchmetrics.

The edit of the attacked picture is compared with that of the clean one by PSNR, SSIM and multiscale
SSIM, picture by picture: low values mean that the attack has changed the edit. By themselves edits
have a CLIP score with their prompts and an inception score.
"""

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.image.inception import InceptionScore

from lord.metrics.clip_iqa import ClipEncoder
from lord.metrics.features import FeatureNet
from lord.models.memory import BATCH

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales of multiscale SSIM, the finest first [Wang et al., 2003]."""

WINDOW = 11
"""Side of the window of SSIM, which has to fit into the picture at every scale."""

EQUAL = 100.0
"""PSNR in dB of two pictures that differ by no more than that, where it would be infinite."""


def similarities(images: Tensor, others: Tensor) -> dict[str, Tensor]:
    """``psnr`` (dB), ``ssim`` and ``ms_ssim`` of each pair of pictures, shape (N,) each.

    Args:
        images, others: shape (N, 3, H, W) in [0, 1], which is the range that all three are told.

    Raises:
        ValueError: shapes that differ, or pictures smaller than the window of SSIM.
    """
    if images.shape != others.shape or min(images.shape[2:]) < WINDOW:
        raise ValueError(
            f"expected two sets of one shape, of at least {WINDOW} pixels a side, not "
            f"{tuple(images.shape)} and {tuple(others.shape)}"
        )
    ranged = {"data_range": 1.0, "reduction": "none"}
    side = min(images.shape[2:])
    # The coarsest of k + 1 scales is 2^k times smaller; torchmetrics asks for k² times the window.
    coarsest = max(k for k in range(len(SCALES)) if side // max(2**k, k**2) >= WINDOW)
    scales = SCALES[: coarsest + 1]
    weights = [weight / sum(scales) for weight in scales]
    psnr = peak_signal_noise_ratio(images, others, dim=(1, 2, 3), **ranged)
    multiscale = multiscale_structural_similarity_index_measure(
        images, others, betas=tuple(weights), normalize="relu", **ranged
    )
    return {
        "psnr": psnr.clamp(max=EQUAL),
        "ssim": structural_similarity_index_measure(images, others, **ranged),
        "ms_ssim": multiscale,
    }


@torch.inference_mode()
def clip_cosines(encoder: ClipEncoder, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """The cosine of the embeddings of each picture and each prompt, (N, P), on the CPU."""
    device = encoder.model.device
    tokens = {name: value.to(device) for name, value in encoder.tokenize(prompts).items()}
    texts = F.normalize(encoder.get_text_features(**tokens), dim=1)
    batches = [encoder.preprocess(batch.to(device)) for batch in images.split(BATCH)]
    found = [F.normalize(encoder.get_image_features(batch), dim=1) @ texts.T for batch in batches]
    return torch.cat(found).float().cpu()


def clip_score(encoder: ClipEncoder, images: Tensor, prompts: Sequence[str]) -> Tensor:
    """100 · max(cos, 0) of each picture with its own prompt, shape (N,) [Hessel et al., 2021]."""
    return 100 * clip_cosines(encoder, images, prompts).diagonal().clamp(min=0)


def inception_score(network: FeatureNet, features: Tensor, domain: str) -> float:
    """exp E KL(p(y|x) ‖ p(y)), the mean over the attributes y that the network recognises.

    Salimans et al., arXiv:1606.03498, in one split; with the embedded network, whose scale is not
    that of Inception.

    Args:
        features: of the pictures, shape (N, D), see `lord.metrics.fid.extract`.
    """
    logits = network.classify(features.to(network.device, torch.float32))
    scores = []
    for (of, _), values in logits.items():
        if of == domain:
            # torchmetrics shuffles, which one split does not show, and warns of memory.
            with torch.random.fork_rng(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                metric = InceptionScore(feature=nn.Identity(), splits=1)
                metric.update(values.cpu())
                scores.append(metric.compute()[0])
    return torch.stack(scores).mean().item()
