"""Models that are broken, incomplete or of another kind are refused in one line."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from topologies import build, change_json

from lord.cli.opening import native_size
from lord.models import source
from lord.models.components import load_any
from lord.models.pipeline import load_pipeline

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "good"
    build("sdxl").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(good, tmp_path):
    """A copy to break."""
    return shutil.copytree(good, tmp_path / "model")


def refused(folder) -> str:
    with pytest.raises(ValueError, match=folder.name) as caught:
        load_pipeline(folder, "cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "StableDiffusion3Pipeline",
        "FluxPipeline",
        "PixArtAlphaPipeline",
        "LatentConsistencyModelPipeline",
        "StableDiffusionInpaintPipeline",
        "StableDiffusionInstructPix2PixPipeline",
        None,
    ],
)
def test_another_class_is_named_with_what_is_supported(folder, name):
    change_json(folder / "model_index.json", _class_name=name)
    message = refused(folder)
    assert f"a {name}, which is not supported" in message and "1.x, 2.x and XL" in message


def test_settings_that_are_none(folder):
    index = folder / "model_index.json"
    content = index.read_text()
    for broken, message in (("{}", "a None"), ("[1]", "not a JSON object"), ("{", "not a JSON")):
        index.write_text(broken)
        assert message in refused(folder)
    index.write_text(content)
    change_json(index, unet=None)
    assert "model_index.json: lists no unet" in refused(folder)
    change_json(index, unet=["diffusers", "UNet1DModel"])
    assert "unet is a UNet1DModel; supported is UNet2DConditionModel" in refused(folder)
    index.write_text(content)
    change_json(folder / "unet/config.json", block_out_channels="many")
    assert "unet/config.json: block_out_channels: " in refused(folder)
    (folder / "unet/config.json").write_text("{")
    assert "unet/config.json: not a JSON file" in refused(folder)


def test_settings_without_a_word_are_not_taken_for_the_defaults(folder):
    (folder / "scheduler/scheduler_config.json").write_text("{}")
    assert "scheduler_config.json: an empty JSON object" in refused(folder)


def test_a_missing_folder(folder):
    shutil.rmtree(folder / "tokenizer_2")
    assert "the folder tokenizer_2 is missing" in refused(folder)
    with pytest.raises(FileNotFoundError, match="tokenizer_2: no such folder"):
        load_any(folder)


@pytest.mark.parametrize("content", [b"", b"x" * 99])
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_a_file_of_weights_that_is_none(folder, part, content):
    for path in (folder / part).glob("*.safetensors"):
        path.write_bytes(content)
    for load in (lambda: load_pipeline(folder, "cpu"), lambda: load_any(folder)):
        with pytest.raises((ValueError, OSError), match="model"):
            load()


def test_weights_that_are_missing_or_no_numbers(folder):
    path = folder / UNET
    good = load_file(path)
    save_file({name: w for name, w in good.items() if name != "conv_in.weight"}, path)
    assert "1 weights are missing in the files, such as conv_in.weight" in refused(folder)
    broken = good | {"conv_in.bias": good["conv_in.bias"].clone()}
    broken["conv_in.bias"][0] = torch.nan
    save_file(broken, path)
    assert "unet: conv_in.bias holds NaN or infinity" in refused(folder)
    path.rename(path.with_suffix(".bin"))
    message = refused(folder)
    assert "pickles" in message and "save_pretrained" in message
    path.with_suffix(".bin").unlink()
    assert "no weights (.safetensors) in unet" in refused(folder)


def test_weights_in_half_precision_only_are_found(folder):
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        for path in (folder / part).glob("*.safetensors"):
            path.rename(path.with_suffix(".fp16.safetensors"))
    assert load_pipeline(folder, "cpu").unet.dtype == torch.float32


def test_a_model_that_does_not_say_its_size_asks_for_it(folder):
    change_json(folder / "unet/config.json", sample_size=None)
    with pytest.raises(ValueError, match="sample_size is None; give --size"):
        native_size(load_pipeline(folder, "cpu"))


def test_a_hub_model_is_looked_at_before_it_is_downloaded(good, tmp_path, monkeypatch):
    snapshot = tmp_path / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    index = snapshot / "model_index.json"
    index.write_text(json.dumps({"_class_name": "FluxPipeline"}))
    asked = []

    def download(model, name, revision):
        asked.append((model, name, revision))
        return str(index)

    monkeypatch.setattr(source, "hf_hub_download", download)
    monkeypatch.setattr(source.HfApi, "list_repo_files", lambda *_, **__: [])
    with pytest.raises(ValueError, match=f"who/what@{'0' * 40}: a FluxPipeline"):
        load_pipeline("who/what", "cpu", revision="main")
    assert asked == [("who/what", "model_index.json", "main")]

    shutil.copytree(good, snapshot, dirs_exist_ok=True)
    found = source.find_source("who/what")
    assert (found.revision, found.name) == ("0" * 40, f"who/what@{'0' * 40}")

    def nothing(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(source, "hf_hub_download", nothing)
    with pytest.raises(OSError, match=r"who/what at revision v1: model_index\.json .*no network"):
        load_pipeline("who/what", "cpu", revision="v1")


def test_a_folder_has_no_revision(good):
    with pytest.raises(ValueError, match="--revision"):
        load_pipeline(good, "cpu", revision="main")


def test_files_that_are_no_checkpoint(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="pickle"):
        load_pipeline(path, "cpu")
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors: no such file"):
        load_pipeline(path, "cpu")
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="broken"):
        load_pipeline(path, "cpu")
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="holds no U-Net of Stable Diffusion"):
        load_pipeline(path, "cpu")
    first = "model.diffusion_model.input_blocks.0.0.weight"
    save_file({first: torch.zeros(1, 9, 1, 1)}, path)
    with pytest.raises(ValueError, match="edits pictures"):
        load_pipeline(path, "cpu")
