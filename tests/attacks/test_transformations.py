"""What the attacked picture goes through before it is seen."""

import pytest
import torch
from helpers import SEEDS, noise_images

from lord.attacks.transformations import TRANSFORMATIONS, transform


@pytest.fixture(scope="module")
def images():
    return noise_images()


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_transformations_keep_shape_and_pass_gradients(images, name):
    candidates = images.clone().requires_grad_()
    seen = transform(candidates, (name,), SEEDS)
    assert seen.shape == images.shape and not torch.equal(seen, images)
    (gradient,) = torch.autograd.grad(seen.sum(), candidates)
    assert (gradient != 0).any(dim=1).float().mean() > 0.9
    assert torch.equal(
        transform(images, (name,), SEEDS)[1], transform(images[1:], (name,), SEEDS[1:])[0]
    )
