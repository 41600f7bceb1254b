"""The resumable training loop and the pretraining built on it."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from lord.data.subjects import DOMAINS, sample_domain
from lord.models.embedded import TINY
from lord.models.pipeline import decode_latents, encode_images, encode_prompts, load_pipeline
from lord.models.pretrain import PretrainSettings, _encode_pool, pretrain, vary_caption
from lord.training.loop import train


class Interrupted(Exception):
    """Stands in for a kill."""


def fit(checkpoint, stop_at=None, ema_decay=0.9):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)

    def loss(model, step):
        if step == stop_at:
            raise Interrupted
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return (model(x) - x.sum(1, keepdim=True)).square().mean()

    run = train(
        model,
        loss,
        steps=12,
        learning_rate=0.1,
        warmup=2,
        ema_decay=ema_decay,
        checkpoint=checkpoint,
        checkpoint_every=3,
    )
    return model.state_dict(), run


@pytest.mark.parametrize("stop_at", [1, 7, 11])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_killed_run_ends_like_an_uninterrupted_one(tmp_path, stop_at, ema_decay):
    whole, run = fit(tmp_path / "whole.safetensors", ema_decay=ema_decay)
    assert run.losses[-1] < run.losses[0]
    with pytest.raises(Interrupted):
        fit(tmp_path / "part.safetensors", stop_at, ema_decay)
    resumed, _ = fit(tmp_path / "part.safetensors", ema_decay=ema_decay)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name])


def test_a_broken_loss_is_an_error():
    with pytest.raises(FloatingPointError, match="nan at step 0"):
        train(nn.Linear(1, 1), lambda m, _: m.weight.sum() * float("nan"), steps=2, learning_rate=1)


def test_precisions_can_follow_each_other_in_one_process():
    for precision, dtype in (("bf16", torch.bfloat16), ("no", torch.float32)):
        model, seen = nn.Sequential(nn.Linear(1, 1)), set()
        model[0].register_forward_hook(lambda _, __, output, seen=seen: seen.add(output.dtype))
        train(
            model,
            lambda model, _: model(torch.ones(1, 1)).sum(),
            steps=1,
            learning_rate=0.1,
            mixed_precision=precision,
        )
        assert seen == {dtype}


@pytest.fixture(scope="module")
def tiny_settings():
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
def pretrained(tmp_path_factory, tiny_settings):
    return pretrain(tmp_path_factory.mktemp("pretrained"), tiny_settings)


def test_every_latent_has_its_own_caption(pretrained, tiny_settings):
    pipeline = load_pipeline(pretrained, device="cpu")
    latents, captions, class_prompts = _encode_pool(pipeline, tiny_settings, pretrained / ".work")
    start = 0
    for domain in sorted(DOMAINS):
        batch = sample_domain(domain, "train", range(tiny_settings.pool), 32)
        rows = slice(start, start + tiny_settings.pool)
        assert captions[rows] == batch.captions
        assert set(class_prompts[rows]) == {DOMAINS[domain].CLASS_PROMPT}
        expected = encode_images(pipeline, batch.images)
        assert torch.allclose(latents[rows], expected, atol=0.05)  # stored in half precision
        start = rows.stop
    assert start == len(latents)


def test_stock_diffusers_loads_and_samples_what_was_trained(pretrained):
    pipeline = StableDiffusionPipeline.from_pretrained(pretrained)
    image = pipeline("a portrait of a person", num_inference_steps=2, output_type="np").images[0]
    assert image.shape == (32, 32, 3)


def test_pretraining_is_the_same_twice(tmp_path, pretrained, tiny_settings):
    again = pretrain(tmp_path, tiny_settings)
    for part in ("vae", "unet", "text_encoder"):
        one, other = (sorted((root / part).glob("*.safetensors")) for root in (pretrained, again))
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_latents_have_unit_scale_and_keep_their_shape(pretrained):
    pipeline = load_pipeline(pretrained, device="cpu")
    images = torch.rand(3, 3, 32, 48)
    latents = encode_images(pipeline, images)
    assert latents.shape == (3, 4, 16, 24)
    decoded = decode_latents(pipeline, latents)
    assert decoded.shape == images.shape
    assert decoded.min() >= 0 and decoded.max() <= 1


def test_each_prompt_has_its_own_row(pretrained):
    pipeline = load_pipeline(pretrained, device="cpu")
    text = encode_prompts(pipeline, ["a landscape", "a portrait", "a landscape"])
    assert torch.equal(text[0], text[2])
    assert not torch.equal(text[0], text[1])


def test_loading_frozen_weights_in_the_asked_precision(pretrained):
    pipeline = load_pipeline(pretrained, device="cpu", dtype=torch.bfloat16)
    for part in (pipeline.vae, pipeline.unet, pipeline.text_encoder):
        assert part.dtype == torch.bfloat16
        assert not any(p.requires_grad for p in part.parameters())
        assert not part.training


@pytest.mark.parametrize("path", ["missing", "empty"])
def test_a_folder_without_a_pipeline_is_one_clear_error(tmp_path, path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=f"{path}: no diffusers pipeline"):
        load_pipeline(tmp_path / path)


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
