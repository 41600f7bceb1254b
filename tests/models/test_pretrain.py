"""Pretraining of the model at toy size."""

import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline

from lord.data.subjects import DOMAINS, sample_domain
from lord.models.embedded import TINY, build_tokenizer, forget_lengths
from lord.models.pipeline import encode_images, load_pipeline
from lord.models.pretrain import PretrainSettings, _encode_pool, pretrain, vary_caption


@pytest.fixture(scope="module")
def settings():
    return PretrainSettings(
        pool=32,
        vae_steps=3,
        vae_batch=4,
        unet_steps=3,
        unet_batch=4,
        checkpoint_every=2,
        mixed_precision="no",
        architecture=TINY,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, settings):
    return pretrain(tmp_path_factory.mktemp("pretrained"), settings)


def test_every_latent_has_its_own_caption(folder, settings):
    pipeline = load_pipeline(folder, device="cpu")
    latents, captions, class_prompts = _encode_pool(pipeline, settings, folder / ".work")
    start = 0
    for domain in sorted(DOMAINS):
        batch = sample_domain(domain, "train", range(settings.pool), 32)
        rows = slice(start, start + settings.pool)
        assert captions[rows] == batch.captions
        assert set(class_prompts[rows]) == {DOMAINS[domain].CLASS_PROMPT}
        expected = encode_images(pipeline, batch.images)
        assert torch.allclose(latents[rows], expected, atol=0.05)  # stored in half precision
        start = rows.stop
    assert start == len(latents)


def test_stock_diffusers_loads_and_samples_what_was_trained(folder):
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    image = pipeline("a portrait of a person", num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (32, 32, 3)


@pytest.mark.parametrize("left", [[], ["vae"], ["vae", "pool", "latents"]], ids=str)
def test_pretraining_is_the_same_twice_and_after_a_kill(left, tmp_path, folder, settings):
    (tmp_path / ".work").mkdir()
    for name in left:
        shutil.copy(folder / ".work" / f"{name}.safetensors", tmp_path / ".work")
    again = pretrain(tmp_path, settings)
    for part in ("vae", "unet", "text_encoder"):
        one, other = (sorted((root / part).glob("*.safetensors")) for root in (folder, again))
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_what_a_tokenizer_was_asked_last_is_not_saved(tmp_path):
    fresh, used = build_tokenizer(), build_tokenizer()
    used(["a portrait"], padding="max_length", truncation=True)
    forget_lengths(used)
    for name, tokenizer in (("fresh", fresh), ("used", used)):
        tokenizer.save_pretrained(tmp_path / name)
    one, other = (tmp_path / name / "tokenizer.json" for name in ("fresh", "used"))
    assert one.read_bytes() == other.read_bytes()


def test_captions_vary_as_users_write():
    caption = "a portrait of a person with pale skin, short hair, blue wall"
    generator = torch.Generator().manual_seed(0)
    drawn = [vary_caption(caption, "a portrait of a person", 0.1, generator) for _ in range(2000)]
    assert 0.07 < drawn.count("") / 2000 < 0.13
    assert 0.07 < drawn.count("a portrait of a person") / 2000 < 0.13
    assert drawn.count(caption) > 1000
    assert all(
        text in ("", "a portrait of a person") or text.startswith("a portrait") for text in drawn
    )
