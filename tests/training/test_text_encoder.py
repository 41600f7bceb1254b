"""LoRAs of text encoders, which learn with that of the U-Net."""

import pytest
import torch
from safetensors.torch import load_file
from topologies import build

from lord.adapter import adapter_tensors, lora_layers
from lord.models.memory import spare_memory, text_encoders
from lord.models.pipeline import encode_prompts
from lord.models.sample import generate
from lord.training.lora import finetune, remove_adapters
from lord.training.lora_file import load_lora, parts_of, save_lora
from lord.training.settings import FinetuneSettings

PROMPT = "a portrait of sks person"
SETTINGS = FinetuneSettings(
    rank=2, alpha=3, steps=2, batch_size=1, learning_rate=1e-2, train_text_encoder=True
)


def learned(topology, settings=SETTINGS, **options):
    pipeline = frozen(topology)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    finetune(pipeline, images, [PROMPT, "a person"], settings, **options)
    return pipeline


def frozen(topology):
    pipeline = build(topology)
    pipeline.set_progress_bar_config(disable=True)
    for module in (pipeline.unet, pipeline.vae, *text_encoders(pipeline)):
        module.requires_grad_(False).eval()
    return pipeline


def assert_alike(one, other):
    assert all(
        torch.equal(*pair)
        for pair in zip(
            encode_prompts(one, [PROMPT]).tensors,
            encode_prompts(other, [PROMPT]).tensors,
            strict=True,
        )
    )
    first, second = (generate(pipeline, PROMPT, [0], steps=2) for pipeline in (one, other))
    assert torch.equal(first, second)


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def taught(request):
    """A topology, and its pipeline whose text encoders have learned."""
    return request.param, learned(request.param)


def test_text_encoders_learn_and_are_frozen_and_what_they_were_once_their_loras_are_gone(taught):
    topology, pipeline = taught
    base = frozen(topology)
    encoders = text_encoders(pipeline)
    for encoder in encoders:
        assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())
    # SDXL reads the layer before the last, and the tiny first encoder has only one.
    moved = [w for name, w in adapter_tensors(encoders[-1], "subject").items() if "lora_B" in name]
    assert len(moved) == 4 * len(encoders) and all(w.abs().max() > 1e-3 for w in moved)
    told, before = (encode_prompts(one, [PROMPT]).text for one in (pipeline, base))
    assert not torch.equal(told, before)
    again = learned(topology)
    assert_alike(pipeline, again)
    remove_adapters(again)
    assert not any(lora_layers(part) for part in parts_of(again).values())
    assert_alike(again, base)


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_diffusers_and_we_load_what_was_saved_to_the_last_bit(taught, tmp_path, form):
    topology, pipeline = taught
    path = save_lora(pipeline, tmp_path / "lora.safetensors", form)
    stock, ours = frozen(topology), frozen(topology)
    stock.load_lora_weights(path)
    load_lora(ours, path)
    assert_alike(pipeline, stock)
    assert_alike(pipeline, ours)
    begins = {name.split("_text_model")[0].split("_unet")[0] for name in load_file(path)}
    encoders = {"sd1": {"lora_te"}, "sdxl": {"lora_te1", "lora_te2"}}[topology]
    assert form == "diffusers" or begins == {"lora", *encoders}


def test_the_scale_is_that_of_every_part(taught, tmp_path):
    topology, pipeline = taught
    path, half = save_lora(pipeline, tmp_path), frozen(topology)
    load_lora(half, path, scale=0.5)
    found = {part.peft_config["subject"].lora_alpha for part in parts_of(half).values()}
    assert found == {1.5}


def test_a_part_that_does_not_fit_leaves_nothing(taught, tmp_path):
    topology, pipeline = taught
    path = save_lora(pipeline, tmp_path)
    other = frozen({"sd1": "sdxl", "sdxl": "sd1"}[topology])
    with pytest.raises(ValueError, match=r"lora_weights\.safetensors: "):
        load_lora(other, path)
    assert not any(lora_layers(part) for part in parts_of(other).values())


def test_where_text_encoders_cannot_learn_is_said(monkeypatch):
    pipeline = frozen("sd1")
    spare_memory(pipeline)
    with pytest.raises(ValueError, match=r"train_text_encoder: .*take --memory normal"):
        finetune(pipeline, torch.rand(1, 3, 16, 16), [PROMPT], SETTINGS)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="train_text_encoder: works in one process"):
        finetune(frozen("sd1"), torch.rand(1, 3, 16, 16), [PROMPT], SETTINGS)


def test_a_broken_training_leaves_no_adapter():
    pipeline = frozen("sd1")
    with pytest.raises(FloatingPointError):
        finetune(
            pipeline,
            torch.rand(1, 3, 16, 16),
            [PROMPT],
            SETTINGS.model_copy(update={"learning_rate": 1e25, "steps": 4}),
        )
    assert not any(lora_layers(part) for part in parts_of(pipeline).values())
