"""A latent model at one prompt, called as an unconditional one."""

import torch
from helpers import build_tiny

from lord.models.pipeline import encode_prompts
from lord.models.pixel import denoised, noise_shape
from lord.models.prompted import at_prompt


def test_the_answer_is_that_of_the_latent_model_at_the_prompt():
    latent, prompt = build_tiny(), "a portrait of a person"
    model = at_prompt(latent, prompt)
    x, times = torch.randn(2, *noise_shape(model)), torch.tensor([3, 900])
    states = encode_prompts(latent, [prompt, prompt]).text
    expected = latent.unet(x, times, encoder_hidden_states=states).sample
    assert torch.equal(model.unet(x, times).sample, expected)
    other = at_prompt(latent, "a landscape of dunes").unet(x, times).sample
    assert not torch.allclose(other, expected)
    assert model.unet.unet is latent.unet


def test_it_is_sampled_as_an_unconditional_model_is():
    model = at_prompt(build_tiny(torch.float64), "a portrait of a person")
    start = torch.randn(2, *noise_shape(model), generator=torch.Generator().manual_seed(0))
    start = start.double()
    found = denoised(model, start, 2)
    assert found.shape == start.shape and found.isfinite().all()
    assert torch.allclose(denoised(model, start[:1], 2), found[:1], atol=1e-12)
