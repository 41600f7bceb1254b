"""Masks, kernels and the rows of data sets for editing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lord.editing.dataset import (
    inpainting_sample,
    low_resolution_sample,
    variation_sample,
)
from lord.editing.kernels import KERNELS, shrink
from lord.editing.masks import LARGEST_SEGMENT, SMALLEST_SEGMENT, mask_of, segments, shape_mask
from lord.metrics.clip import load_clip


def two_halves(height=40, width=60):
    """A picture of three colours: a left half, and the right one with a small spot."""
    image = torch.full((3, height, width), 0.2)
    image[:, :, width // 2 :] = torch.tensor([0.9, 0.5, 0.1])[:, None, None]
    image[:, :4, -4:] = 0.0
    return image


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.integers(16, 70), st.integers(16, 70))
def test_a_shape_is_a_mask_of_any_size_and_always_paints_something(seed, height, width):
    mask = shape_mask(seed, height, width)
    assert mask.shape == (1, height, width)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(mask, shape_mask(seed, height, width))


def test_shapes_differ_from_seed_to_seed():
    masks = torch.stack([shape_mask(seed, 48, 48) for seed in range(24)])
    assert len(masks.flatten(1).unique(dim=0)) == 24
    assert 0.05 < masks.mean() < 0.6


def test_segments_are_large_parts_of_one_colour():
    image = two_halves()
    found = segments(image)
    assert found
    for mask in found:
        assert mask.shape == (1, 40, 60)
        assert SMALLEST_SEGMENT < mask.mean() < LARGEST_SEGMENT
    best = max(((m * left_half()).sum() / m.sum()).item() for m in found)
    assert best > 0.9  # one of them is the left half
    assert all(torch.equal(a, b) for a, b in zip(found, segments(image), strict=True))


def left_half():
    mask = torch.zeros(1, 40, 60)
    mask[..., :30] = 1
    return mask


def test_a_picture_without_segments_gets_a_shape():
    plain = torch.full((3, 32, 32), 0.5)
    assert torch.equal(mask_of(plain, 7, "segment"), shape_mask(7, 32, 32))


def test_what_is_corrupted_is_what_the_mask_says():
    image = two_halves()
    sample = inpainting_sample(image, "a flag", 3)
    mask, corrupted = sample.pictures["mask"], sample.pictures["corrupted"]
    assert (corrupted[mask == 1] == 0.5).all()
    assert torch.equal(corrupted[mask == 0], image[mask == 0])
    assert sample.columns["painted"] == pytest.approx(mask.mean().item(), abs=1e-4)
    kinds = {
        torch.equal(inpainting_sample(image, "", k).pictures["mask"][:1], shape_mask(k, 40, 60))
        for k in range(12)
    }
    assert kinds == {True, False}


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_keeps_brightness_and_order(kernel):
    image = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    small = shrink(image, 4, kernel)
    assert small.shape == (1, 3, 16, 16)
    assert small.mean().item() == pytest.approx(0.5, abs=0.02)
    assert (small.diff(dim=-1) > -1e-6).all()
    assert shrink(torch.rand(1, 3, 33, 50), 4, kernel).shape == (1, 3, 9, 13)


def test_the_box_kernel_is_the_mean_of_its_box():
    image = torch.rand(1, 3, 8, 8)
    expected = image.reshape(1, 3, 2, 4, 2, 4).mean((3, 5))
    assert torch.allclose(shrink(image, 4, "box"), expected, atol=1e-6)
    with pytest.raises(ValueError, match="unknown kernel 'hat': choose one of box"):
        shrink(image, 2, "hat")


def test_every_kernel_is_drawn():
    image = torch.rand(3, 16, 16)
    drawn = {low_resolution_sample(image, "", seed).columns["kernel"] for seed in range(40)}
    assert drawn == set(KERNELS)


def test_prompts_are_ranked_by_what_the_picture_shows():
    from lord.data.subjects import sample_domain

    encoder = load_clip()
    portraits, landscapes = (
        sample_domain(d, "evaluation", range(2), 64) for d in ("portraits", "landscapes")
    )
    candidates = [*landscapes.captions, *portraits.captions]
    sample = variation_sample(portraits.images[0], encoder, candidates, kept=3)
    assert sample.columns["prompt"] in portraits.captions
    assert len(sample.columns["prompts"]) == 3
    assert list(np.diff(sample.columns["scores"]) <= 0) == [True, True]
