"""LoRA files of other software, and files that are broken."""

import json
import shutil

import pytest
import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from helpers import copy_of
from safetensors.torch import load_file, save_file
from topologies import build

from lord.adapter import active_adapters, adapter_tensors, remove_adapters
from lord.defences.saved import load_defence, save_defence
from lord.defences.settings import Stage1Settings
from lord.defences.stage1 import train_defence
from lord.training.lora import finetune
from lord.training.lora_file import load_lora, read_safetensors, save_lora
from lord.training.settings import FinetuneSettings

SETTINGS = FinetuneSettings(rank=2, alpha=3, steps=1, batch_size=1)


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def taught(request):
    """A pipeline with a LoRA, and its weights."""
    pipeline = build(request.param)
    pipeline.unet.requires_grad_(False)
    finetune(pipeline, torch.rand(1, 3, 16, 16), ["a portrait"], SETTINGS)
    return pipeline, adapter_tensors(pipeline.unet, "subject")


def assert_same(pipeline, weights, alpha=3):
    found = adapter_tensors(pipeline.unet, "again")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    config = pipeline.unet.peft_config["again"]
    assert (config.r, config.lora_alpha) == (2, alpha)
    pipeline.unet.delete_adapters("again")


def test_kohya_there_and_back(taught, tmp_path):
    pipeline, weights = taught
    path = save_lora(pipeline, tmp_path / "kohya.safetensors", form="kohya")
    names = set(load_file(path))
    assert all(name.startswith("lora_unet_") for name in names)
    assert sum(name.endswith(".alpha") for name in names) == len(weights) // 2
    load_lora(pipeline, path, "again")
    assert_same(pipeline, weights)


def test_keys_of_diffusers_old_and_new(taught, tmp_path):
    pipeline, weights = taught
    new = {f"unet.{name}": w.clone() for name, w in weights.items()}
    old = {
        name.replace("to_out.0", "to_out")
        .replace(".lora_A.", "_lora.down.")
        .replace(".lora_B.", "_lora.up."): w
        for name, w in new.items()
    }
    old = {
        ".".join((*name.split(".")[:-3], "processor", *name.split(".")[-3:])): w
        for name, w in old.items()
    }
    for name, tensors in (("new", new), ("old", old)):
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path)
        load_lora(pipeline, path, "again")
        assert_same(pipeline, weights, alpha=2)  # without alphas the scale is 1


def test_half_the_scale_is_half_the_change(taught, tmp_path):
    pipeline, weights = taught
    path = save_lora(pipeline, tmp_path / "lora.safetensors")
    load_lora(pipeline, path, "again", scale=0.5)
    assert_same(pipeline, weights, alpha=1.5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lora_unet_a.dora_scale", "DoRA in kohya's format"),
        ("lora_unet_a.hada_w1_a", "LoHa"),
        ("lora_unet_a.lokr_w1", "LoKr"),
        ("conv_in.weight", "not those of a LoRA"),
    ],
)
def test_a_feature_that_is_not_supported_is_named(taught, tmp_path, name, message):
    pipeline, weights = taught
    path = tmp_path / "foreign.safetensors"
    save_file(
        {f"unet.{key}": w.clone() for key, w in weights.items()} | {name: torch.ones(1)}, path
    )
    with pytest.raises(ValueError, match=f"foreign.*{message}"):
        load_lora(pipeline, path, "again")
    assert active_adapters(pipeline.unet) == ["subject"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": "abc"}, "r: Input should be a valid integer, not 'abc'"),
        ({"r": 1000000000}, "r: Input should be less than or equal to 4096"),
        ({"r": 512}, "r: 512, but the weights have rank"),
        ({"lora_alpha": float("nan")}, "lora_alpha: Input should be a finite number"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": -1}, "lora_alpha: Input should be greater than 0"),
        ({"target_modules": 7}, "target_modules"),
        ({"target_modules": "("}, "target_modules.*no regular expression"),
        ({"target_modules": ["nowhere"]}, "nowhere"),
        ({"lora_dropout": 2}, "lora_dropout"),
    ],
)
def test_settings_in_a_file_are_checked(taught, tmp_path, changes, message):
    pipeline, _ = taught
    path = save_lora(pipeline, tmp_path / "lora.safetensors")
    tensors, metadata = read_safetensors(path)
    settings = json.loads(metadata[LORA_ADAPTER_METADATA_KEY])
    settings |= {f"unet.{name}": value for name, value in changes.items()}
    save_file(tensors, path, {LORA_ADAPTER_METADATA_KEY: json.dumps(settings)})
    with pytest.raises(ValueError, match=f"lora.safetensors: .*{message}") as caught:
        load_lora(pipeline, path, "again")
    assert "\n" not in str(caught.value)
    for text in ("null", "[]", "{"):
        save_file(tensors, path, {LORA_ADAPTER_METADATA_KEY: text})
        with pytest.raises(ValueError, match="no JSON object"):
            load_lora(pipeline, path, "again")


@pytest.mark.parametrize(
    ("value", "message"),
    [(torch.nan, "holds NaN"), (torch.inf, "holds NaN or infinity"), (1e30, "numbers beyond")],
)
def test_numbers_that_are_none(taught, tmp_path, value, message):
    pipeline, _ = taught
    path = save_lora(pipeline, tmp_path / "lora.safetensors")
    tensors, metadata = read_safetensors(path)
    tensors = {name: torch.full_like(w, value) for name, w in tensors.items()}
    save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match=f"lora.safetensors: .*{message}"):
        load_lora(pipeline, path, "again")


def test_the_files_of_a_defence_are_checked(tiny, tmp_path):
    pipeline, images = copy_of(tiny.pipeline), torch.rand(2, 3, 16, 16)
    stage1 = Stage1Settings(rank=2, steps=1, batch_size=1)
    train_defence(pipeline, images, images.flip(0), ["a", "b"], stage1)
    good = save_defence(pipeline, tmp_path / "good")
    remove_adapters(pipeline.unet)
    config = json.loads((good / "adapter_config.json").read_text())
    for changes, message in (
        ({"gate": "coin"}, "gate"),
        ({"gate_hidden": 10**9}, "gate_hidden"),
        ({"fixed_gate": float("inf")}, "fixed_gate"),
        ({"r": None}, "r: Input"),
        ({"surprise": 1}, "surprise"),
    ):
        folder = shutil.copytree(good, tmp_path / "broken", dirs_exist_ok=True)
        (folder / "adapter_config.json").write_text(json.dumps(config | changes))
        with pytest.raises(ValueError, match=f"adapter_config.json: .*{message}"):
            load_defence(pipeline, folder)
        assert active_adapters(pipeline.unet) == []

    config["base_model_name_or_path"] = "who/what"  # looked up, it would be an error here
    (good / "adapter_config.json").write_text(json.dumps(config))
    load_defence(pipeline, good)
    assert pipeline.unet.peft_config["lord"].base_model_name_or_path is None
