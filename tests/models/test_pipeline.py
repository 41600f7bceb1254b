"""Loading a pipeline, and its maps between pixels, text and latents."""

import pytest
import torch

from lord.models.pipeline import decode_latents, encode_images, encode_prompts, load_pipeline


def test_latents_have_unit_scale_and_keep_their_shape(pipeline):
    images = torch.rand(3, 3, 32, 48)
    latents = encode_images(pipeline, images)
    assert latents.shape == (3, 4, 16, 24)
    decoded = decode_latents(pipeline, latents)
    assert decoded.shape == images.shape
    assert decoded.min() >= 0 and decoded.max() <= 1


def test_each_prompt_has_its_own_row(pipeline):
    text = encode_prompts(pipeline, ["a landscape", "a portrait", "a landscape"])
    assert torch.equal(text.text[0], text.text[2])
    assert not torch.equal(text.text[0], text.text[1])


def test_loading_frozen_weights_in_the_asked_precision():
    pipeline = load_pipeline("embedded", device="cpu", dtype=torch.bfloat16)
    for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        assert part.dtype == torch.bfloat16
        assert not any(p.requires_grad for p in part.parameters())
        assert not part.training


@pytest.mark.parametrize("path", ["missing", "empty"])
def test_a_folder_without_a_pipeline_is_one_clear_error(tmp_path, path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=f"{path}: no diffusers pipeline"):
        load_pipeline(tmp_path / path)
