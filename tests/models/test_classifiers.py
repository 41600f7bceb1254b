"""Classifiers: small, and each image's logits its own."""

import pytest
import torch

from lord.models.classifiers import CLASSIFIERS, build_classifier


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_a_classifier_is_small_and_looks_at_one_image_at_a_time(architecture):
    network = build_classifier(architecture).eval()
    assert sum(p.numel() for p in network.parameters()) < 1e6
    images = torch.rand(3, 3, 32, 32)
    logits = network(images)
    assert logits.shape == (3, 10)
    torch.testing.assert_close(network(images[1:2]), logits[1:2])
    torch.testing.assert_close(network.head(network.features(images)), logits)


@pytest.mark.parametrize("architecture", CLASSIFIERS)
def test_gradients_have_gradients(architecture):
    network = build_classifier(architecture, 8).double().requires_grad_(False)
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    way = torch.randn(image.shape, dtype=torch.float64)

    def slope(x):
        (found,) = torch.autograd.grad(network(x)[:, 0].sum(), x, create_graph=True)
        return (found * way).sum()

    second = torch.autograd.grad(slope(image), image)[0]
    h = 1e-5
    ahead, behind = ((image + s * h * way).detach().requires_grad_() for s in (1, -1))
    expected = (slope(ahead) - slope(behind)) / (2 * h)
    assert (second * way).sum().item() == pytest.approx(expected.item(), rel=1e-4)


def test_an_unknown_classifier_is_named():
    with pytest.raises(ValueError, match="unknown classifier 'vgg': choose residual or attention"):
        build_classifier("vgg")


def test_building_one_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = build_classifier("residual", 8)
    assert torch.equal(torch.rand(2), expected)
    again = build_classifier("residual", 8)
    assert torch.equal(first.head.weight, again.head.weight)
