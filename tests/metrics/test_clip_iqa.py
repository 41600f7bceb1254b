"""CLIP-IQA through torchmetrics against the formula written out by hand."""

import pytest
import torch

from lord.metrics.clip import ClipSettings, build_clip
from lord.metrics.clip_iqa import CLIP_MEAN, CLIP_STD, PROMPTS, clip_iqa
from lord.models.embedded import build_tokenizer


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    settings = ClipSettings(image_size=32, width=32, vision_layers=1, text_layers=1)
    return build_clip(build_tokenizer(), settings).eval()


def by_hand(encoder, image):
    """exp(100 cos(x, good)) / (exp(100 cos(x, good)) + exp(100 cos(x, bad))), one image."""
    mean, std = torch.tensor(CLIP_MEAN), torch.tensor(CLIP_STD)
    pixels = (image - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        x = encoder.model.get_image_features(pixel_values=pixels[None]).pooler_output[0].double()
        cosines = []
        for prompt in PROMPTS:
            ids = encoder.tokenizer(prompt, return_tensors="pt").input_ids
            t = encoder.model.get_text_features(input_ids=ids).pooler_output[0].double()
            cosines.append((x @ t) / (x.norm() * t.norm()))
    good, bad = (torch.exp(100 * cosine) for cosine in cosines)
    return (good / (good + bad)).item()


def test_agrees_with_the_formula(encoder):
    torch.manual_seed(1)
    images = torch.rand(5, 3, 32, 32)
    scores = clip_iqa(encoder, images, batch_size=2)
    assert scores.shape == (5,) and scores.dtype == torch.float32
    expected = torch.tensor([by_hand(encoder, image) for image in images])
    torch.testing.assert_close(scores, expected.float(), rtol=1e-4, atol=1e-5)


def test_one_image_and_none(encoder):
    assert clip_iqa(encoder, torch.rand(1, 3, 32, 32)).shape == (1,)
    with pytest.raises(ValueError, match="at least one image"):
        clip_iqa(encoder, torch.rand(0, 3, 32, 32))


def test_other_sizes_are_resized_and_cropped(encoder):
    wide = torch.rand(2, 3, 48, 80)
    assert encoder.preprocess(wide).shape == (2, 3, 32, 32)
    flat = torch.full((1, 3, 100, 70), 0.25)
    expected = (0.25 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    torch.testing.assert_close(encoder.preprocess(flat)[0, :, 7, 9], expected)


def test_the_quality_prompts_differ_in_their_words(encoder):
    good, bad = encoder.tokenize(PROMPTS)["input_ids"].tolist()
    assert len(good) == 5  # start, quality, photo, full stop, end: every word is one token
    assert [a == b for a, b in zip(good, bad, strict=True)] == [True, False, True, True, True]
