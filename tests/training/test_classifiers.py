"""Training classifiers: plainly, by PGD-AT and by TRADES; killed and resumed."""

import pytest
import torch
import torch.nn.functional as F

from lord.data.classes import Labelled
from lord.models.classifiers import build_classifier
from lord.training import classifiers
from lord.training.classifiers import train_classifier
from lord.training.settings import ClassifierSettings

FEW = {"steps": 4, "batch_size": 6, "attack_steps": 2, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def pool():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 10
    return Labelled(torch.rand((30, 3, 8, 8), generator=generator), labels)


@pytest.mark.parametrize("method", ["standard", "pgd", "trades"])
def test_a_killed_training_ends_as_an_uninterrupted_one(pool, method, tmp_path, monkeypatch):
    settings = ClassifierSettings(method=method, checkpoint_every=2, **FEW)
    whole = train_classifier(pool, settings)
    assert not any(p.requires_grad for p in whole.parameters())
    loss = {"standard": "_clean", "pgd": "_attacked", "trades": "_both"}[method]
    original, calls = getattr(classifiers, loss), []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(classifiers, loss, killed)
    with pytest.raises(KeyboardInterrupt):
        train_classifier(pool, settings, tmp_path / "state.safetensors")
    monkeypatch.setattr(classifiers, loss, original)
    resumed = train_classifier(pool, settings, tmp_path / "state.safetensors")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def objective(method, pool, **changes):
    model = build_classifier("residual", 8)
    settings = ClassifierSettings(method=method, **{"attack_steps": 3, **changes})
    images, labels = pool.images[:8], pool.labels[:8]
    start = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    made = {"standard": classifiers._clean, "pgd": classifiers._attacked}.get(method)
    made = made or classifiers._both
    return model, images, labels, made(model, images, labels, start, settings)


def test_attacked_pictures_are_harder(pool):
    clean = objective("standard", pool)[-1].item()
    # A step as large as the budget, up a loss that is nearly linear at random weights.
    attacked = objective("pgd", pool, eps=16 / 255, step_size=16 / 255)[-1].item()
    assert attacked > clean


def test_trades_is_the_clean_loss_and_a_divergence(pool):
    model, images, labels, found = objective("trades", pool, beta=1e-9)
    expected = F.cross_entropy(model(images), labels)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    heavy = objective("trades", pool, beta=100.0, eps=16 / 255, step_size=8 / 255)[-1]
    assert heavy > expected


def test_the_divergence_is_that_of_the_library():
    of, to = torch.randn(2, 5, 7).log_softmax(dim=2)
    expected = F.kl_div(to, of, reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(classifiers._divergence(of, to), expected)


def test_the_weights_are_trained_and_the_attack_leaves_them_alone(pool):
    model, *_, loss = objective("pgd", pool)
    loss.backward()
    assert all(p.requires_grad and p.grad is not None for p in model.parameters())
