"""Training classifiers: on clean pictures, or adversarially.

PGD-AT (Madry et al., arXiv:1706.06083) learns attacked pictures only; TRADES (Zhang et al.,
arXiv:1901.08573) learns clean ones, and that attacked ones are to look the same:

    min E[ −log p(k|x) + β max_{‖x′−x‖∞ ≤ ε} KL(p(·|x) ‖ p(·|x′)) ].
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lord.attacks.ball import project
from lord.attacks.pgd import frozen, pgd_step
from lord.data.classes import Labelled
from lord.models.classifiers import Classifier, build_classifier
from lord.models.device import best_device
from lord.seeding import derive_seed
from lord.training.loop import train
from lord.training.settings import ClassifierSettings


def train_classifier(
    pool: Labelled, settings: ClassifierSettings, checkpoint: Path | None = None
) -> Classifier:
    """A classifier that has learned the pool, frozen, with the average of its weights.

    Run again after an interruption, it goes on where it was.

    Args:
        pool: pictures to learn from; those of each step are drawn from it.
        checkpoint: file of an interrupted run, which the caller removes once the result is saved.
    """
    size = pool.images.shape[-1]
    network = build_classifier(settings.architecture, size, settings.seed, pool.classes)
    objective = {"standard": _clean, "pgd": _attacked, "trades": _both}[settings.method]

    def loss(model: nn.Module, step: int) -> Tensor:
        seed = derive_seed("classifier", settings.seed, step)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(pool.labels), (settings.batch_size,), generator=generator)
        device = next(model.parameters()).device
        images, labels = pool.images[rows].to(device), pool.labels[rows].to(device)
        start = torch.randn(images.shape, generator=generator).to(device)
        return objective(model, images, labels, start, settings)

    train(
        network,
        loss,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup=min(100, settings.steps // 10),
        ema_decay=settings.ema_decay,
        checkpoint=checkpoint,
        checkpoint_every=settings.checkpoint_every,
        description=f"classifier {settings.name}",
    )
    return network.to(best_device()).eval().requires_grad_(False)


def _clean(
    model: nn.Module, images: Tensor, labels: Tensor, start: Tensor, settings: ClassifierSettings
) -> Tensor:
    return F.cross_entropy(model(images), labels)


def _attacked(
    model: nn.Module, images: Tensor, labels: Tensor, start: Tensor, settings: ClassifierSettings
) -> Tensor:
    """From a uniform start, up the cross-entropy."""
    uniform = torch.special.ndtr(start) * 2 - 1

    def harm(x: Tensor) -> Tensor:
        return F.cross_entropy(model(x), labels, reduction="none")

    return F.cross_entropy(model(_ascend(model, harm, images, uniform, settings)), labels)


def _both(
    model: nn.Module, images: Tensor, labels: Tensor, start: Tensor, settings: ClassifierSettings
) -> Tensor:
    """From a start beside the picture, where the divergence has no gradient, up that."""
    clean = model(images)
    target = clean.detach().log_softmax(dim=1)

    def harm(x: Tensor) -> Tensor:
        return _divergence(target, model(x).log_softmax(dim=1))

    beside = start * (1e-3 / settings.eps)
    attacked = model(_ascend(model, harm, images, beside, settings)).log_softmax(dim=1)
    apart = _divergence(clean.log_softmax(dim=1), attacked).mean()
    return F.cross_entropy(clean, labels) + settings.beta * apart


def _divergence(of: Tensor, to: Tensor) -> Tensor:
    """KL(of ‖ to) of log-probabilities (N, classes), shape (N,)."""
    return (of.exp() * (of - to)).sum(dim=1)


def _ascend(
    model: nn.Module,
    harm: Callable[[Tensor], Tensor],
    images: Tensor,
    start: Tensor,
    settings: ClassifierSettings,
) -> Tensor:
    """PGD from ``start``, in units of ε, with the weights held fixed."""
    attacked = project(images + settings.eps * start, images, settings.eps)
    with frozen(model):
        for _ in range(settings.attack_steps):
            attacked = pgd_step([harm], attacked, images, settings.eps, settings.step_size)
    return attacked
