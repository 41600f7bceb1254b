"""Sampling from a tiny pipeline."""

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from helpers import build_tiny

from lord.models.sample import generate
from lord.seeding import generators

PROMPTS = ["a portrait of a person", "a landscape", "a portrait of a person"]


def test_images_do_not_depend_on_their_batch(pipeline):
    images = generate(pipeline, PROMPTS, [1, 2, 3], steps=3)
    assert images.shape == (3, 3, 32, 32) and images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    one_by_one = generate(pipeline, PROMPTS, [1, 2, 3], steps=3, batch_size=1)
    torch.testing.assert_close(images, one_by_one, rtol=0, atol=1e-4)
    reordered = generate(pipeline, PROMPTS[::-1], [3, 2, 1], steps=3, batch_size=2)
    torch.testing.assert_close(images.flip(0), reordered, rtol=0, atol=1e-4)
    again = generate(pipeline, PROMPTS, [1, 2, 3], steps=3)
    assert torch.equal(images, again)
    assert not torch.equal(images[0], images[2])  # the same prompt, another seed


def test_equals_stock_diffusers(pipeline):
    images = generate(pipeline, PROMPTS[:2], [1, 2], steps=3, guidance_scale=2.0)
    stock = pipeline(
        PROMPTS[:2],
        generator=generators([1, 2]),
        num_inference_steps=3,
        guidance_scale=2.0,
        output_type="pt",
    ).images
    torch.testing.assert_close(images, stock, rtol=0, atol=1e-5)


def test_one_prompt_for_all_and_other_schedulers(pipeline):
    before = pipeline.scheduler
    images = generate(pipeline, PROMPTS[0], [1, 2], steps=3)
    listed = generate(pipeline, PROMPTS[:1] * 2, [1, 2], steps=3)
    assert torch.equal(images, listed)
    scheduler = DPMSolverMultistepScheduler.from_config(before.config)
    other = generate(pipeline, PROMPTS[0], [1, 2], steps=3, scheduler=scheduler)
    assert other.shape == images.shape and not torch.allclose(other, images, atol=1e-3)
    assert pipeline.scheduler is before and isinstance(before, DDIMScheduler)


def test_half_precision():
    images = generate(build_tiny(torch.bfloat16), PROMPTS[:1], [1], steps=2)
    assert images.dtype == torch.float32 and images.isfinite().all()


def test_bad_input_is_refused(pipeline):
    with pytest.raises(ValueError, match="3 were given for 2 seeds"):
        generate(pipeline, PROMPTS, [1, 2])
    with pytest.raises(ValueError, match="steps"):
        generate(pipeline, PROMPTS, [1, 2, 3], steps=0)
