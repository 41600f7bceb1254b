"""Who or what a picture shows, read by a network that has seen none of the damage.

The identity match of `lord.metrics.identity` shares a network with the FID, and that network has
learned the damage. Here each attribute is read off the features of `lord.metrics.imagenet`, which
stays as it is: by a linear map to the attribute's values, fitted to clean renders with a penalty on
its size (ridge regression, which needs no training and has one solution).

Small damage may already take all that it reads: it tells that there is some, and not how much.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

RIDGE = 1000.0
"""The penalty on squared weights of standardised features."""

STANDARD = ("mean", "scale")
"""In a reader, what features are standardised by; the rest are attributes."""


def fit_reader(
    features: Tensor, attributes: Mapping[str, Tensor], values: Mapping[str, int]
) -> dict[str, Tensor]:
    """A reader: ``mean`` and ``scale`` of features (D,), a map (D + 1, values) by attribute.

    Args:
        features: of clean pictures, shape (N, D).
        attributes: the index of each attribute's value, each of shape (N,).
        values: how many there are, of the attributes that are to be read.
    """
    features = features.double()
    reader = {"mean": features.mean(0), "scale": features.std(0).clamp(min=1e-6)}
    inputs = _standardised(reader, features)
    penalty = RIDGE * torch.eye(inputs.shape[1], dtype=inputs.dtype)
    penalty[-1, -1] = 0  # the mean of an answer costs nothing
    moments = inputs.T @ inputs + penalty
    for name, count in values.items():
        answers = F.one_hot(attributes[name], count).to(inputs)
        reader[name] = torch.linalg.solve(moments, inputs.T @ answers)
    return reader


def share_read(
    reader: Mapping[str, Tensor], features: Tensor, identity: Mapping[str, int]
) -> Tensor:
    """The share of a subject's attributes that are read off each picture, shape (N,), in [0, 1].

    Args:
        features: shape (N, D), of the network that the reader was fitted to.
        identity: value index of each identity attribute of the subject.

    Raises:
        ValueError: an attribute or a value that the reader does not know.
    """
    inputs = _standardised(reader, features.double())
    hits = []
    for name, value in identity.items():
        if name in STANDARD or name not in reader or not 0 <= value < reader[name].shape[1]:
            raise ValueError(f"attribute {name!r} has no value {value}")
        hits.append((inputs @ reader[name]).argmax(1) == value)
    return torch.stack(hits).double().mean(0)


def _standardised(reader: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """Features (N, D) at mean 0 and variance 1, and a column of ones."""
    scaled = (features - reader["mean"]) / reader["scale"]
    return torch.cat([scaled, torch.ones_like(scaled[:, :1])], 1)
