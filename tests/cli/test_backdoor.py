"""Commands that look for a backdoor, on tiny models with random weights."""

import json
from unittest import mock

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel
from helpers import error, run
from safetensors.torch import load_file, save_file

from lord.models.pixel import TINY_PIXEL, build_ddpm

QUICK = ["--steps", 2, "--refine-steps", 1, "--batch-size", 2, "--sampler-steps", 2]


def saved(folder, seed, **changes):
    torch.manual_seed(seed)
    build_ddpm(TINY_PIXEL.model_copy(update=changes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """The options that name four clean models."""
    base = tmp_path_factory.mktemp("clean")
    return [part for k in range(4) for part in ("--clean", saved(base / str(k), k))]


def test_a_scan_says_what_it_found_and_inputs_are_searched_for_it(clean, tmp_path):
    model, out = saved(tmp_path / "theirs", 9), tmp_path / "found"
    result = json.loads(
        run("backdoor", "scan", model, *clean, *QUICK, "--out", out, "--json").stdout
    )
    assert result["model"] == str(model) and 0 <= result["p_value"] <= 1
    assert len(result["clean"]) == 4 and (out / "trigger.png").is_file()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "trigger.png").write_text("mine")
    refused = error("backdoor", "scan", model, *clean, *QUICK, "--out", foreign)
    assert "trigger.png: not written by `lord backdoor scan`" in refused
    assert (foreign / "trigger.png").read_text() == "mine"
    mu = load_file(out / "trigger.safetensors")["mu"]
    assert result["kl_mean"] == pytest.approx(mu.square().mean().item() / 2, rel=1e-4)
    table = run("backdoor", "scan", model, *clean, *QUICK).stdout
    assert "variance over pixels" in table and "clean model looks like this" in table

    noises = tmp_path / "noises.safetensors"
    plain = torch.randn(4, *mu.shape)
    save_file({"noises": torch.cat([plain, plain + mu])}, noises)
    found = ["--trigger", out / "trigger.safetensors"]
    told = json.loads(run("backdoor", "inputs", noises, *found, "--json").stdout)
    assert [one["triggered"] for one in told] == [False] * 4 + [True] * 4
    assert run("backdoor", "inputs", noises, *found).stdout.count("yes") == 4


def test_what_was_found_in_clean_models_serves_for_others(clean, tmp_path):
    model, out = saved(tmp_path / "theirs", 9), tmp_path / "found"
    scan = ["backdoor", "scan", model, "--json"]
    first = json.loads(run(*scan, *clean, *QUICK, "--out", out).stdout)
    known = ["--calibration", out / "clean.json"]
    assert json.loads(run(*scan, *known).stdout) == first
    assert "give clean models, or what was found" in error(*scan)
    assert "give clean models, or what was found" in error(*scan, *clean, *known)
    assert "give no other settings" in error(*scan, *known, "--steps", 3)
    other = saved(tmp_path / "other", 1, image_size=16)
    message = error("backdoor", "scan", other, *known)
    assert "clean.json: noise of shape (3, 8, 8), not (3, 16, 16)" in message
    assert "(3, 32, 32), not (3, 8, 8)" in error(*scan, "--calibration", "embedded")
    (out / "clean.json").write_text('{"shape": [3, 8, 8]}')
    assert "clean.json: settings" in error(*scan, *known)
    assert "nowhere: no such file" in error(*scan, "--calibration", "nowhere")


def test_other_sizes_channels_and_samplers_are_scanned(tmp_path, clean):
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=(8, 16),
        in_channels=1,
        out_channels=1,
        block_out_channels=(8, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=1,
    )
    for name in ("grey", "a", "b", "c", "d"):
        DDPMPipeline(unet, DDIMScheduler()).save_pretrained(tmp_path / name)
    four = [part for name in "abcd" for part in ("--clean", tmp_path / name)]
    options = [*four, *QUICK, "--out", tmp_path / "found"]
    run("backdoor", "scan", tmp_path / "grey", *options)
    message = error("backdoor", "scan", tmp_path / "grey", *clean)
    assert "noise of shape (3, 8, 8), not (1, 8, 16)" in message
    assert load_file(tmp_path / "found" / "trigger.safetensors")["mu"].shape == (1, 8, 16)


def test_what_cannot_be_scanned_is_said_in_one_line(tmp_path, clean, pretrained, monkeypatch):
    scan = ["backdoor", "scan"]
    model = saved(tmp_path / "model", 1)
    assert "at least 4" in error(*scan, model, *clean[:4])
    assert "each once" in error(*scan, model, *clean[:6], *clean[:2])
    assert "without" in error(*scan, model, *clean, "--clean", model)
    with monkeypatch.context() as patch:
        infinite = mock.Mock(side_effect=FloatingPointError("the reversed trigger is not finite"))
        patch.setattr("lord.backdoors.reversion.reverse", infinite)
        diverging = run(*scan, model, *clean, *QUICK, code=1)
    assert "learning_rate: expected" in error(*scan, model, *clean, "--learning-rate", 1e30)
    assert f"Error: {model}: the reversed trigger is not finite" in diverging.stderr
    assert "Traceback" not in diverging.output
    assert "model_index.json" in error(*scan, tmp_path, *clean)
    assert "StableDiffusionPipeline" in error(*scan, pretrained / "embedded", *clean)
    assert "nowhere" in error(*scan, model, *clean[:6], "--clean", tmp_path / "nowhere")
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    broken = load_file(weights)
    broken["conv_in.weight"][0] = torch.nan
    save_file(broken, weights)
    assert "conv_in.weight holds NaN" in error(*scan, model, *clean)
    pipeline = build_ddpm(TINY_PIXEL)
    pipeline.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    assert "safetensors" in error(*scan, tmp_path / "pickled", *clean)
    pipeline.scheduler = DDIMScheduler(prediction_type="flow")
    pipeline.save_pretrained(tmp_path / "other")
    assert "prediction_type: Input should be" in error(*scan, tmp_path / "other", *clean)


def test_noises_that_are_none_are_said_in_one_line(tmp_path):
    trigger, noises = tmp_path / "trigger.safetensors", tmp_path / "noises.safetensors"
    inputs = ["backdoor", "inputs", noises, "--trigger", trigger]
    assert "trigger.safetensors" in error(*inputs)
    save_file({"mu": torch.zeros(3, 8, 8), "gamma": torch.ones(())}, trigger)
    assert f"{tmp_path}: no such file" in error("backdoor", "inputs", tmp_path, *inputs[3:])
    noises.write_bytes(b"noise")
    assert "not a safetensors file" in error(*inputs)
    save_file({"noises": torch.zeros(2, 3, 4, 4)}, noises)
    assert "the trigger (3, 8, 8)" in error(*inputs)
    for value, said in ((torch.inf, "NaN or infinity"), (1e30, "numbers beyond ±65504")):
        save_file({"noises": torch.full((2, 3, 8, 8), value)}, noises)
        assert f"noises holds {said}" in error(*inputs)
    save_file({"noises": torch.zeros(3, 8, 8)}, noises)
    assert "one tensor of shape" in error(*inputs)
