"""Edits by the mean prediction of several denoisers."""

import pytest
import torch
from helpers import PROMPTS, SEEDS, build_tiny, noise_images

from lord.editing.editors import edit, make_editor
from lord.editing.ensemble import mean_editor
from lord.editing.settings import EditSettings
from lord.models.embedded import build_tokenizer

HOW = EditSettings(steps=4, strength=0.5, guidance_scale=3.0)


def test_a_model_with_itself_edits_as_alone(pipeline):
    images = noise_images(16)
    alone = edit(make_editor("variation", pipeline), images, PROMPTS, SEEDS, HOW)
    twice = edit(mean_editor([pipeline, pipeline]), images, PROMPTS, SEEDS, HOW)
    assert torch.allclose(alone, twice, atol=1e-4)


def test_another_model_counts_with_its_own_prompts(pipeline):
    images, other = noise_images(16), build_tiny(unet_channels=(8, 16))
    both = mean_editor([pipeline, other])
    text = both.pipeline.text_encoder(torch.zeros(1, 40, dtype=torch.long))[0]
    expected = pipeline.text_encoder(torch.zeros(1, 40, dtype=torch.long))[0]
    assert torch.equal(text[..., : expected.shape[-1]], expected)
    edited = edit(both, images, PROMPTS, SEEDS, HOW)
    alone = edit(make_editor("variation", pipeline), images, PROMPTS, SEEDS, HOW)
    assert not torch.allclose(edited, alone, atol=1e-3)


def test_models_that_read_other_words_are_refused(pipeline):
    other = build_tiny()
    other.tokenizer = build_tokenizer()
    other.tokenizer.add_tokens(["unheard"])
    with pytest.raises(ValueError, match="one tokenizer"):
        mean_editor([pipeline, other])
