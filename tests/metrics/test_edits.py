"""Similarities of edits against their formulas, and scores against torchmetrics."""

import math

import pytest
import torch
from torchmetrics.functional.multimodal import clip_score as theirs

from lord.data.subjects import sample_domain
from lord.metrics.clip import load_clip
from lord.metrics.edits import EQUAL, clip_score, inception_score, similarities
from lord.metrics.features import load_features
from lord.metrics.fid import extract


@pytest.fixture(scope="module")
def batch():
    return sample_domain("portraits", "evaluation", range(4), 64)


def test_psnr_and_ssim_know_that_pictures_are_in_0_to_1(batch):
    images = batch.images
    shifted = (images * 0.5 + 0.25, images * 0.5 + 0.35)
    found = similarities(*shifted)
    assert found["psnr"].tolist() == pytest.approx([20.0] * 4, abs=1e-3)  # 0.1 of 1
    # Where only the mean differs, SSIM is its first factor; with another range it would be 1.
    flat = torch.full((1, 3, 32, 32), 0.2), torch.full((1, 3, 32, 32), 0.6)
    expected = (2 * 0.2 * 0.6 + 0.01**2) / (0.2**2 + 0.6**2 + 0.01**2)
    assert similarities(*flat)["ssim"].item() == pytest.approx(expected, abs=1e-4)


def test_every_picture_has_its_own_number_and_equal_ones_have_the_best(batch):
    images, others = batch.images, batch.images.roll(1, 0)
    together = similarities(images, others)
    for k in range(len(images)):
        alone = similarities(images[k : k + 1], others[k : k + 1])
        for name, values in together.items():
            assert values.shape == (4,)
            assert values[k].item() == pytest.approx(alone[name].item(), abs=1e-4)
    equal = similarities(images, images)
    assert equal["psnr"].tolist() == [EQUAL] * 4
    assert equal["ssim"].tolist() == pytest.approx([1] * 4)
    assert equal["ms_ssim"].tolist() == pytest.approx([1] * 4)


@pytest.mark.parametrize("side", [11, 16, 32, 64, 200])
def test_multiscale_ssim_takes_the_scales_that_fit(side):
    images = torch.rand(1, 3, side, side)
    found = similarities(images, images + 0.01)
    assert 0 < found["ms_ssim"].item() <= 1
    with pytest.raises(ValueError, match="at least 11 pixels"):
        similarities(images[..., :10], images[..., :10])


def test_the_clip_score_is_that_of_torchmetrics(batch):
    encoder = load_clip()
    scores = clip_score(encoder, batch.images, batch.captions)
    images = list(batch.images)
    encoder.config = encoder.model.config  # which torchmetrics asks for
    expected = theirs(images, batch.captions, lambda: (encoder, encoder.processor))
    assert scores.mean().item() == pytest.approx(expected.item(), rel=1e-4)
    swapped = clip_score(encoder, batch.images, batch.captions[::-1])
    assert scores.mean() > swapped.mean()


def test_the_inception_score_is_one_for_pictures_all_alike(batch):
    network = load_features()
    features = extract(network, batch.images)
    state = torch.get_rng_state()
    assert inception_score(network, features, "portraits") > 1.01
    assert torch.equal(torch.get_rng_state(), state)
    alike = features[:1].expand(4, -1)
    assert inception_score(network, alike, "portraits") == pytest.approx(1, abs=1e-4)
    logits = network.classify(features.float())
    values = []
    for (domain, _), rows in logits.items():
        if domain == "portraits":
            p = rows.softmax(1)
            divergence = (p * (p.log() - p.mean(0, keepdim=True).log())).sum(1).mean()
            values.append(math.exp(divergence.item()))
    expected = sum(values) / len(values)
    assert inception_score(network, features, "portraits") == pytest.approx(expected, rel=1e-4)
