"""Identity match: do the samples show the subject?

The attribute network reads each identity attribute of the subject (hair, face shape, …, or the
place of a landscape) off the sample; the score is the mean probability it gives to the subject's
values. 1 means that every attribute is recognised with certainty. The ceiling is the score of the
subject's own reference images, which belongs beside every value.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from lord.metrics.features import FeatureNet
from lord.metrics.fid import extract
from lord.models.memory import BATCH


@torch.inference_mode()
def identity_match(
    network: FeatureNet,
    images: Tensor,
    domain: str,
    identity: Mapping[str, int],
    batch_size: int = BATCH,
) -> Tensor:
    """Identity match of every image, on the CPU, shape (N,), in [0, 1]; higher is better.

    Args:
        network: the attribute network.
        images: shape (N, 3, H, W), in [0, 1].
        domain: "portraits" or "landscapes".
        identity: value index of each identity attribute of the subject.
        batch_size: images per forward pass.

    Raises:
        ValueError: no images, no attributes, or an unknown domain, attribute or value.
    """
    if len(images) == 0 or not identity:
        raise ValueError("identity match needs at least one image and one identity attribute")
    known = network.attributes.get(domain)
    if known is None:
        raise ValueError(
            f"unknown domain {domain!r}; the network knows {', '.join(network.attributes)}"
        )
    for name, value in identity.items():
        if name not in known or not 0 <= value < len(known[name]):
            raise ValueError(f"{domain}: attribute {name!r} has no value {value}")
    return match_of(network, extract(network, images, batch_size), domain, identity)


@torch.inference_mode()
def match_of(
    network: FeatureNet, features: Tensor, domain: str, identity: Mapping[str, int]
) -> Tensor:
    """Identity match from the features of images, shape (N, D), as `extract` returns them."""
    logits = network.classify(features.to(network.device, torch.float32))
    probabilities = [logits[domain, name].softmax(-1)[:, value] for name, value in identity.items()]
    return torch.stack(probabilities, 1).mean(1).float().cpu()
