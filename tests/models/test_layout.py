"""Settings files of models are looked at before a library builds anything from them."""

import json
import math
import re
import shutil

import pytest
from diffusers import DPMSolverMultistepScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from topologies import TOPOLOGIES, build, change_json

from lord.models.components import load_any
from lord.models.layout import POSITIVE, check_layout, read_object
from lord.models.pipeline import load_pipeline
from lord.models.pixel import load_ddpm
from lord.models.source import check_weights

FILES = {
    "unet/config.json": ("sample_size", "block_out_channels", "layers_per_block", "norm_eps"),
    "vae/config.json": ("latent_channels", "scaling_factor", "down_block_types"),
    "text_encoder/config.json": ("hidden_size", "num_hidden_layers", "hidden_act"),
    "scheduler/scheduler_config.json": ("beta_end", "beta_schedule", "num_train_timesteps"),
}
SETTINGS = [(file, field) for file, fields in FILES.items() for field in fields]
NO_VALUES = (math.nan, math.inf, [], {}, [[]], {"a": 1}, [None], True)
NO_SIZES = (-1, 0, 10**9, 1e30, -0.5)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "good"
    build("sd1-v").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(good, tmp_path):
    """A copy to break."""
    return shutil.copytree(good, tmp_path / "model")


def check(folder):
    check_layout(folder, read_object(folder / "model_index.json"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(SETTINGS), st.sampled_from((*NO_VALUES, *NO_SIZES)))
def test_a_setting_that_can_not_be_is_named_with_its_file(good, setting, value):
    file, field = setting
    if value in NO_SIZES and field not in POSITIVE:
        value = [value]  # which none of the others takes
    path = good / file
    before = path.read_text()
    change_json(path, **{field: value})
    try:
        with pytest.raises(ValueError, match=f"{file}: {field}: .*, not {re.escape(str(value))}"):
            check(good)
    finally:
        path.write_text(before)


@pytest.mark.parametrize("value", [-1, {}, [], math.nan, "unet", ["diffusers"], [1, 2], [[], {}]])
@pytest.mark.parametrize("part", ["unet", "tokenizer", "_class_name"])
def test_an_entry_of_the_index_that_is_none(folder, part, value):
    change_json(folder / "model_index.json", **{part: value})
    with pytest.raises(ValueError, match=f"model_index.json: {part}: "):
        load_any(folder)
    with pytest.raises(ValueError, match="model"):
        load_pipeline(folder, "cpu")


def test_a_part_without_settings_or_of_no_class(folder):
    (folder / "vae/config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"vae/config\.json: no such file"):
        check(folder)
    change_json(folder / "model_index.json", vae=["diffusers", "NoSuchThing"])
    with pytest.raises(ValueError, match="vae: there is no NoSuchThing in diffusers"):
        check(folder)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_what_the_libraries_write_is_taken(tmp_path, topology):
    pipeline = build(topology)
    schedule = dict(pipeline.scheduler.config)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(schedule)  # -Infinity is in it
    pipeline.save_pretrained(tmp_path)
    change_json(tmp_path / "unet/config.json", upcast_attention=None)  # as SDXL has it
    check(tmp_path)


def test_a_schedule_must_add_noise(folder):
    for changes in ({"beta_start": -0.5, "beta_schedule": "linear"}, {"beta_end": 1e6}):
        change_json(folder / "scheduler/scheduler_config.json", **changes)
        with pytest.raises(ValueError, match=r"model: scheduler: no schedule .*beta_start"):
            load_pipeline(folder, "cpu")


def test_parts_must_belong_together(folder):
    tokenizer = folder / "tokenizer/tokenizer_config.json"
    for length in (10**9, -1, "abc", None, [], {}):
        change_json(tokenizer, model_max_length=length)
        with pytest.raises(ValueError, match=r"model: .*model_max_length|diffusers cannot"):
            load_pipeline(folder, "cpu")


def test_layers_that_the_settings_leave_out_are_noticed(good, tmp_path):
    network = build("sd1-v").unet
    check_weights(good / "unet", network)
    (path,) = (good / "unet").glob("*.safetensors")
    weights = load_file(path)
    name = "mid_block.resnets.0.conv1.weight"
    save_file(weights | {name.replace(".0.", ".7."): weights[name].clone()}, tmp_path / path.name)
    with pytest.raises(
        ValueError, match=r"layers that its settings .* mid_block\.resnets\.7\.conv1"
    ):
        check_weights(tmp_path, network)


def test_a_broken_model_in_pixels(pixel_model, tmp_path):
    folder = shutil.copytree(pixel_model, tmp_path / "pixel")
    index = json.loads((folder / "model_index.json").read_text())
    for wrong in ({}, index | {"unet": []}, index | {"scheduler": 3}):
        (folder / "model_index.json").write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=r"pixel/model_index\.json: "):
            load_ddpm(folder)
    (folder / "model_index.json").write_text(json.dumps(index))
    change_json(folder / "unet/config.json", layers_per_block=10**9)
    with pytest.raises(ValueError, match=r"unet/config\.json: layers_per_block"):
        load_ddpm(folder)
