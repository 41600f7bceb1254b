"""LoRD from Stage 1 to test time, on a tiny pipeline."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from helpers import build_tiny, copy_of
from torch import Tensor

from lord.adapter import (
    active_adapters,
    adapter_tensors,
    lora_layers,
    lord_layers,
    record_gates,
    remove_adapters,
)
from lord.defences.gates import GateProfile, gate_profile
from lord.defences.saved import load_defence, save_defence
from lord.defences.settings import Stage1Settings
from lord.defences.stage1 import train_defence
from lord.defences.treatments import apply_treatment
from lord.models.diffusion import noised, training_schedule
from lord.models.pipeline import encode_prompts
from lord.training import loop as training
from lord.training.lora import finetune
from lord.training.settings import FinetuneSettings

SETTINGS = Stage1Settings(
    rank=2, alpha=2, target_modules=("to_q", "to_v"), steps=4, batch_size=2, checkpoint_every=2
)
CAPTIONS = ["a portrait of a person", "a landscape", "a portrait of a person"]
TREATMENTS = ("learned", "prior=0.01", "lambda=0", "lambda=0.5", "lambda=1", "dropped", "merged")


@pytest.fixture
def pipeline(own_pipeline: StableDiffusionPipeline) -> StableDiffusionPipeline:
    return own_pipeline


@pytest.fixture(scope="module")
def clean() -> Tensor:
    smooth = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(smooth, 32, mode="bilinear")


@pytest.fixture(scope="module")
def attacked(clean: Tensor) -> Tensor:
    noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(2)) - 0.5
    return (clean + 0.4 * noise).clamp(0, 1)


@pytest.fixture(scope="module")
def defence_folder(tiny, clean, attacked, tmp_path_factory):
    """A trained defence, its effect made large enough to tell the treatments apart."""
    pipeline = copy_of(tiny.pipeline)
    train_defence(pipeline, clean, attacked, CAPTIONS, SETTINGS)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in pipeline.unet.named_parameters():
        if ".lord." in name:
            step = torch.randn(parameter.shape, generator=generator) * 0.1
            parameter.data += step
    return save_defence(pipeline, tmp_path_factory.mktemp("defence"))


def probe(pipeline: StableDiffusionPipeline) -> Tensor:
    latents = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(4))
    text = encode_prompts(pipeline, CAPTIONS[:2]).text
    with torch.no_grad():
        return pipeline.unet(latents, torch.tensor([100, 600]), text, return_dict=False)[0]


@pytest.mark.parametrize("clean_target", ["distill", "noise"])
def test_stage_1_trains_every_part_of_the_adapter(pipeline, clean, attacked, clean_target):
    settings = SETTINGS.model_copy(update={"clean_target": clean_target})
    history = train_defence(pipeline, clean, attacked, CAPTIONS, settings)
    assert {name: len(values) for name, values in history.items()} == dict.fromkeys(
        ("clean", "attacked", "gate"), 4
    )
    if clean_target == "distill":  # the untrained adapter equals the base model
        assert history["clean"][0] < 1e-9 < history["clean"][-1] < history["attacked"][-1]
    else:
        assert history["clean"][0] > 0.1
    assert abs(history["gate"][0] - 0.69) < 0.1  # λ starts near one half
    assert not any(p.requires_grad for p in pipeline.unet.parameters())
    tensors = adapter_tensors(pipeline.unet, "lord")
    moved = [key for key, value in tensors.items() if "_B." in key and value.abs().max() > 0]
    assert len(moved) == 2 * len(lord_layers(pipeline.unet))


def test_a_gate_may_read_the_timestep(pipeline, clean, attacked, tmp_path):
    settings = SETTINGS.model_copy(update={"gate": "timestep"})
    train_defence(pipeline, clean, attacked, CAPTIONS, settings)
    for layer in lord_layers(pipeline.unet).values():
        gate = layer.lora_gate_in["lord"]
        gate.weight.data[:, : layer.out_features] = 0  # now the timestep is all that it sees
        gate.weight.data[:, layer.out_features :] *= 20
    with record_gates(pipeline.unet) as gates:
        before = probe(pipeline)
    low, high = gates.per_sample().mean(dim=(0, 1))  # the probe's two timesteps
    assert abs(low - high) > 1e-4
    with record_gates(pipeline.unet) as gates, torch.no_grad():
        text = encode_prompts(pipeline, CAPTIONS[:2]).text
        pipeline.unet(torch.zeros(2, 4, 16, 16), torch.tensor(100), text)  # as samplers call it
    assert torch.allclose(gates.per_sample().mean(dim=(0, 1)), low.expand(2), atol=1e-5)

    save_defence(pipeline, tmp_path)
    remove_adapters(pipeline.unet)
    load_defence(pipeline, tmp_path)
    load = probe(pipeline)
    assert torch.equal(before, load)
    assert len(pipeline.unet._forward_pre_hooks) == 1


def test_a_saved_defence_may_fix_its_gate(pipeline, defence_folder, tmp_path):
    load_defence(pipeline, defence_folder)
    apply_treatment(pipeline, "lambda=0.25")
    expected = probe(pipeline)
    remove_adapters(pipeline.unet)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((defence_folder / name).read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"fixed_gate": 0.25}))
    load_defence(pipeline, tmp_path)
    assert torch.equal(probe(pipeline), expected)
    apply_treatment(pipeline, "learned")
    assert not torch.equal(probe(pipeline), expected)


def test_weights_and_settings_change_together(pipeline, defence_folder, tmp_path, monkeypatch):
    """A process that is killed between two of the files leaves the new defence, whole."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((defence_folder / name).read_bytes())
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"fixed_gate": 0.25}))
    (tmp_path / "audit.json").write_text("{}")
    load_defence(pipeline, defence_folder)
    expected, moved = probe(pipeline), []

    def killed(path, target, real=Path.replace):
        if path.parent.name == ".lord-committed":
            moved.append(path.name)
            if len(moved) == 2:
                raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save_defence(pipeline, tmp_path)
    remove_adapters(pipeline.unet)
    load_defence(pipeline, tmp_path)
    assert torch.equal(probe(pipeline), expected)
    assert {path.name for path in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def test_gate_profile(pipeline, defence_folder, clean, attacked):
    load_defence(pipeline, defence_folder)
    profile = gate_profile(pipeline, clean, attacked, CAPTIONS, levels=4)
    assert profile.clean.shape == profile.attacked.shape == (4, 3)
    assert profile.timesteps.tolist() == [125, 375, 625, 875]
    assert ((profile.clean > 0) & (profile.clean < 1)).all()
    again = gate_profile(pipeline, clean, clean, CAPTIONS, levels=4)
    assert torch.equal(again.clean, profile.clean) and torch.equal(again.attacked, profile.clean)
    assert not torch.equal(profile.attacked, profile.clean)

    by_hand = GateProfile(
        torch.tensor([100, 900]),
        clean=torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]),
        attacked=torch.tensor([[0.9, 0.8, 0.7], [0.5, 0.6, 0.4]]),
    )
    assert by_hand.accuracy == pytest.approx((5 + 4) / 12)
    series = by_hand.series
    assert series["timestep"] == [100, 900]
    assert series["clean_mean"] == pytest.approx([0.2, 0.5])
    assert series["clean_low"] == pytest.approx([0.15, 0.45])
    assert series["attacked_high"] == pytest.approx([0.85, 0.55])


def test_killed_and_started_again(pipeline, clean, attacked, tmp_path, monkeypatch):
    history = train_defence(pipeline, clean, attacked, CAPTIONS, SETTINGS)
    expected = adapter_tensors(pipeline.unet, "lord")
    remove_adapters(pipeline.unet)

    save = training.save_tensors

    def save_then_die(*args, **kwargs):
        save(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "save_tensors", save_then_die)
    path = tmp_path / "work.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_defence(pipeline, clean, attacked, CAPTIONS, SETTINGS, checkpoint=path)
    monkeypatch.undo()
    resumed = train_defence(pipeline, clean, attacked, CAPTIONS, SETTINGS, checkpoint=path)
    weights = adapter_tensors(pipeline.unet, "lord")
    assert resumed == history
    assert all(torch.equal(weights[key], expected[key]) for key in expected)


def test_saved_and_loaded(pipeline, tiny, defence_folder, tmp_path):
    assert {path.name for path in defence_folder.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    load_defence(pipeline, defence_folder)
    assert active_adapters(pipeline.unet) == ["lord"]
    assert not any(p.requires_grad for p in pipeline.unet.parameters())
    expected = probe(pipeline)
    save_defence(pipeline, tmp_path)
    for file in defence_folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()
    with pytest.raises(ValueError, match="already there"):
        load_defence(pipeline, tmp_path)
    assert torch.equal(probe(pipeline), expected)
    remove_adapters(pipeline.unet)
    assert torch.equal(probe(pipeline), probe(tiny.pipeline))


def test_treatments(pipeline, defence_folder, clean):
    load_defence(pipeline, defence_folder)
    finetune(pipeline, clean, CAPTIONS, FinetuneSettings(steps=2, batch_size=2))
    unet, outputs = pipeline.unet, {}
    for treatment in (*TREATMENTS, "merged=0.5"):
        apply_treatment(pipeline, treatment)
        outputs[treatment] = probe(pipeline)
    torch.testing.assert_close(outputs["merged"], outputs["lambda=1"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(outputs["merged=0.5"], outputs["lambda=0.5"], rtol=1e-3, atol=1e-4)
    different = [outputs[name] for name in TREATMENTS if name != "merged"]
    for i, first in enumerate(different):
        for second in different[:i]:
            assert (first - second).abs().max() > 1e-3

    for treatment in TREATMENTS[::-1]:  # whatever came before
        apply_treatment(pipeline, treatment)
        assert torch.equal(probe(pipeline), outputs[treatment])

    apply_treatment(pipeline, "dropped")
    assert active_adapters(unet) == ["subject"]
    apply_treatment(pipeline, "learned")
    assert active_adapters(unet) == ["lord", "subject"]
    with record_gates(unet) as gates:
        probe(pipeline)
    assert gates.per_sample().std() > 0
    apply_treatment(pipeline, "merged=0.25")
    assert all(layer.merged for layer in lora_layers(unet))
    assert {layer.gate for layer in lord_layers(unet).values()} == {0.25}


@pytest.mark.parametrize(
    "name", ["lambda", "lambda=", "lambda=much", "lambda=nan", "prior=0", "prior=1", "droped", ""]
)
def test_unknown_treatments_are_refused(pipeline, defence_folder, name):
    load_defence(pipeline, defence_folder)
    with pytest.raises(ValueError, match="unknown treatment"):
        apply_treatment(pipeline, name)
    assert active_adapters(pipeline.unet) == ["lord"]


def test_a_defence_of_another_model_is_refused(defence_folder):
    other = build_tiny(unet_channels=(24, 48))
    with pytest.raises(ValueError, match="does not belong to this model"):
        load_defence(other, defence_folder)
    assert active_adapters(other.unet) == []


def test_broken_folders_are_refused(pipeline, defence_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="adapter_model"):
        load_defence(pipeline, tmp_path)
    weights = (defence_folder / "adapter_model.safetensors").read_bytes()
    (tmp_path / "adapter_model.safetensors").write_bytes(weights)
    with pytest.raises(FileNotFoundError, match="adapter_config"):
        load_defence(pipeline, tmp_path)
    config = tmp_path / "adapter_config.json"
    for content in ("{", json.dumps({"r": 4}), json.dumps({"gate_hidden": 4, "unknown": 1})):
        config.write_text(content)
        with pytest.raises(ValueError, match="adapter_config"):
            load_defence(pipeline, tmp_path)
    config.write_bytes((defence_folder / "adapter_config.json").read_bytes())
    (tmp_path / "adapter_model.safetensors").write_bytes(weights[:100])
    with pytest.raises(ValueError, match="broken"):
        load_defence(pipeline, tmp_path)
    assert active_adapters(pipeline.unet) == []


def test_bad_use_is_refused(pipeline, clean, attacked, tmp_path):
    with pytest.raises(ValueError, match="no defence"):
        apply_treatment(pipeline, "learned")
    with pytest.raises(ValueError, match="no defence named"):
        save_defence(pipeline, tmp_path)
    with pytest.raises(ValueError, match="attacked_images"):
        train_defence(pipeline, clean, attacked[..., :16], CAPTIONS, SETTINGS)
    with pytest.raises(ValueError, match="captions"):
        train_defence(pipeline, clean, attacked, CAPTIONS[:1], SETTINGS)
    with pytest.raises(ValueError, match="clean_target"):
        Stage1Settings(clean_target="restore")
    finetune(pipeline, clean, CAPTIONS, FinetuneSettings(steps=1, batch_size=1))
    with pytest.raises(ValueError, match="base model"):
        train_defence(pipeline, clean, attacked, CAPTIONS, SETTINGS)


def test_pairs_share_timestep_and_noise(pipeline):
    latents = torch.zeros(4, 4, 16, 16)
    noisy, times, epsilon = noised(training_schedule(pipeline), latents, [1, 2, 1, 2])
    assert torch.equal(times[:2], times[2:]) and torch.equal(epsilon[:2], epsilon[2:])
    assert not torch.equal(epsilon[0], epsilon[1])
    alpha = pipeline.scheduler.alphas_cumprod[times].reshape(-1, 1, 1, 1)
    torch.testing.assert_close(noisy, (1 - alpha).sqrt() * epsilon)
