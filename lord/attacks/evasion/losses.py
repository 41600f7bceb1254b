"""What an evasion attack raises: one number for each picture, from its logits (N, classes)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""From logits (N, classes) and labels (N,) to shape (N,)."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """−log p(label)."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The best wrong logit minus that of the label; above 0 the classifier errs.

    Carlini and Wagner, arXiv:1608.04644.
    """
    wrong = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    return wrong - _at(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio: the margin over the range from the first to the third logit.

    Croce and Hein, arXiv:2003.01690, equation 6; unlike the cross-entropy it is blind to the scale
    of the logits. With two classes there is no third: then the last logit counts.
    """
    ordered = logits.sort(dim=1, descending=True).values
    third = ordered[:, min(2, logits.shape[1] - 1)]
    return margin(logits, labels) / (ordered[:, 0] - third + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """−(z_label − z_target) / (z₁ − (z₃ + z₄)/2), equation 7 of the same; needs four classes."""
    ordered = logits.sort(dim=1, descending=True).values
    below = (ordered[:, 2] + ordered[:, 3]) / 2
    return (_at(logits, targets) - _at(logits, labels)) / (ordered[:, 0] - below + 1e-12)


def likeliest_wrong(logits: Tensor, labels: Tensor, place: int) -> Tensor:
    """The wrong class (N,) that is ``place``-th by its logit, from 0 on."""
    ordered = logits.scatter(1, labels[:, None], -torch.inf).argsort(dim=1, descending=True)
    return ordered[:, place]


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]
