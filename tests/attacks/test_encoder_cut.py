"""Gradients that pass the encoder as if it were linear."""

from contextlib import nullcontext

import pytest
import torch
from helpers import noise_images

from lord.attacks.encoder_cut import encoder_cut
from lord.models.pipeline import encode_images


def test_the_output_stays_and_the_gradient_is_that_of_a_linear_map(double_pipeline):
    """The Jacobian is the same everywhere, and that of the encoder is not."""
    vae, images = double_pipeline.vae, noise_images(16).double()
    with torch.no_grad():
        plain = encode_images(double_pipeline, images)
    probe = torch.randn(plain.shape, generator=torch.Generator().manual_seed(0)).double()

    def gradient():
        x = images.clone().requires_grad_()
        z = encode_images(double_pipeline, x)
        return z.detach(), torch.autograd.grad((z * probe).sum(), x)[0]

    with encoder_cut(vae):
        cut, slope = gradient()
    _, own = gradient()
    torch.testing.assert_close(cut, plain, rtol=1e-9, atol=1e-9)
    # A step of a patch moves its own latent alone.
    moved = images.clone()
    moved[:, :, :2, :2] += 0.1
    with encoder_cut(vae):
        x = images.clone().requires_grad_()
        z = encode_images(double_pipeline, x)
        far = torch.autograd.grad(z[:, :, 4:, 4:].sum(), x)[0]
    assert (far[:, :, :8, :8] == 0).all()
    assert not torch.allclose(slope, own, rtol=0.1)


@pytest.fixture
def linear_pipeline(double_pipeline):
    """The pipeline with an encoder that is one convolution of patches."""
    own = double_pipeline.vae.encoder
    torch.manual_seed(0)
    double_pipeline.vae.encoder = torch.nn.Conv2d(3, 8, 2, stride=2).double().requires_grad_(False)
    yield double_pipeline
    double_pipeline.vae.encoder = own


def test_a_linear_encoder_keeps_its_gradient(linear_pipeline):
    """What is cut is what is not linear."""
    gradients = []
    for cut in (nullcontext(), encoder_cut(linear_pipeline.vae)):
        x = noise_images(16).double().requires_grad_()
        with cut:
            value = encode_images(linear_pipeline, x).square().sum()
            gradients.append(torch.autograd.grad(value, x)[0])
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-8)


def test_the_hook_is_gone_even_on_errors(pipeline):
    with pytest.raises(KeyError), encoder_cut(pipeline.vae):
        raise KeyError
    assert not pipeline.vae.encoder._forward_hooks
