"""Commands that teach: defend, finetune, audit, pretrain."""

import json
import re
import shutil
from unittest import mock

import pytest
import torch
import yaml
from helpers import error, run

from lord.defences.saved import MADE_BY
from lord.tensors import save_tensors
from lord.training.lora_file import read_safetensors


@pytest.mark.usefixtures("few_draws")
def test_a_lora_stays_with_the_defence_it_has_learned_behind(model, album, defence, tmp_path):
    training = ["--steps", 1, "--batch-size", 2, "--rank", 2]
    behind, without = tmp_path / "behind.safetensors", tmp_path / "without.safetensors"
    run("finetune", album, behind, "--defence", defence, *training, *model)
    run("finetune", album, without, *training, *model)
    other = tmp_path / "other"
    stage1 = ["--attack-steps", 1, "--steps", 1, "--batch-size", 2, "--rank", 2]
    run("defend", other, "--images", album, *stage1, *model)

    kept = ["--treatment", "lambda=1"]
    sampling = ["--count", 1, "--steps", 1, *model]

    def asked(lora, folder, *more):
        return ("generate", "a", tmp_path / "out", "--lora", lora, "--defence", folder, *more)

    assert "behind another defence" in error(*asked(behind, other, *kept), *sampling)
    assert "without a defence" in error(*asked(without, defence, *kept), *sampling)
    assert not (tmp_path / "out").exists()
    run(*asked(behind, other), *sampling)  # dropped, it makes no difference
    run(*asked(behind, defence, *kept), *sampling)

    tensors, metadata = read_safetensors(behind)
    del metadata["lord_defence"]  # as a file from elsewhere
    save_tensors(tensors, behind, metadata)
    run(*asked(behind, other, *kept), *sampling)


@pytest.mark.usefixtures("few_draws")
def test_a_defence_from_a_folder_leaves_only_its_files(model, album, tmp_path):
    size = ["--attack-steps", 1, "--steps", 1, "--batch-size", 2, "--rank", 2]
    # An earlier defence, with its calibration.
    save_tensors({"a": torch.zeros(1)}, tmp_path / "adapter_model.safetensors", MADE_BY)
    (tmp_path / "audit.json").write_text("{}")
    assert "too few" in run("defend", tmp_path, "--images", album, *size, *model).output
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.usefixtures("few_draws")
def test_audit(model, album, tmp_path, monkeypatch):
    monkeypatch.setattr("lord.cli.models.AUDITABLE", 8)
    size = ["--attack-steps", 1, "--steps", 2, "--batch-size", 2, "--rank", 2]
    run("defend", tmp_path, "--domain", "portraits", "--identities", 8, *size, *model)
    said = {}
    for prior in ("1/100", "1/2"):
        output = run("audit", album, "--defence", tmp_path, "--prior", prior, *model).stdout
        said[prior] = [int(number) for number in re.findall(r"(\d+)%", output)]
        assert len(said[prior]) == 3 and "picture-00000" in output
    assert max(said["1/100"]) < min(said["1/2"])
    assert "prior" in error("audit", album, "--defence", tmp_path, "--prior", "2", *model)
    (tmp_path / "audit.json").unlink()
    assert "lord defend" in error("audit", album, "--defence", tmp_path, *model)


def test_pretraining_again_changes_nothing(pretrained, tmp_path):
    own = shutil.copytree(pretrained, tmp_path / "own")
    weights = [own / "embedded" / "unet", own / "features", own / "clip"]
    before = [sorted(folder.glob("*.safetensors"))[0].read_bytes() for folder in weights]
    run("pretrain", own, "--settings", own / "settings.yaml")
    after = [sorted(folder.glob("*.safetensors"))[0].read_bytes() for folder in weights]
    assert before == after
    other = own / "other.yaml"
    other.write_text("model: {seed: 1}")
    assert "with other settings" in error("pretrain", own, "--settings", other)


def test_an_unconditional_model_is_trained_and_trained_again(tmp_path):
    from lord.models.pixel import TINY_PIXEL, load_ddpm

    settings = tmp_path / "settings.yaml"
    tiny = {
        "pool": 4,
        "steps": 2,
        "batch_size": 2,
        "architecture": TINY_PIXEL.model_dump(mode="json"),
    }
    settings.write_text(yaml.safe_dump({"pixel": tiny | {"domain": "landscapes"}}))
    asked = ["pretrain", tmp_path, "--kind", "pixel", "--settings", settings]
    run(*asked)
    before = load_ddpm(tmp_path / "landscapes", "cpu").unet.state_dict()
    run(*asked)
    after = load_ddpm(tmp_path / "landscapes", "cpu").unet.state_dict()
    assert all((before[name] == after[name]).all() for name in before)
    settings.write_text("model: {seed: 1}")
    assert "expected the sections pixel" in error(*asked)


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("latent", "embedded/unet/config.json"),
        ("latent", "features/model.safetensors"),
        ("pixel", "portraits/model_index.json"),
        ("inpainting", "inpainting/README.md"),
        ("super-resolution", "super-resolution/adaptation.safetensors"),
    ],
)
def test_a_model_of_other_origin_is_not_replaced(kind, place, pretrained, tmp_path):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    asked = ["pretrain", tmp_path, "--kind", kind]
    if kind not in ("latent", "pixel"):
        asked += ["--model", pretrained / "embedded"]
    assert "of no training that goes on here" in error(*asked)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path] and path.read_text() == "mine"


def test_a_model_has_the_modes_of_the_umask_and_comes_as_a_whole(tmp_path, monkeypatch):
    from diffusers import DDPMPipeline
    from safetensors import SafetensorError

    from lord.models.pixel import TINY_PIXEL

    settings, portraits = tmp_path / "settings.yaml", tmp_path / "portraits"
    few = {"pool": 4, "steps": 1, "batch_size": 2}
    settings.write_text(json.dumps({"pixel": few | {"architecture": TINY_PIXEL.model_dump()}}))
    asked = ["pretrain", tmp_path, "--kind", "pixel", "--settings", settings]
    with monkeypatch.context() as patch:
        full = mock.Mock(side_effect=SafetensorError("I/O error: No space left on device"))
        patch.setattr(DDPMPipeline, "save_pretrained", full)
        assert "portraits: cannot be written" in error(*asked)
    assert [path.name for path in portraits.iterdir()] == [".work"]
    run(*asked)
    written = [path for path in portraits.rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in written} == {settings.stat().st_mode}


def test_an_unconditional_model_of_another_size(tmp_path, monkeypatch):
    from lord.models import pretrain_pixel

    asked = []
    monkeypatch.setattr(pretrain_pixel, "pretrain_pixel", lambda folder, how: asked.append(how))
    run("pretrain", tmp_path, "--kind", "pixel", "--size", 64)
    assert asked[0].architecture.image_size == 64
    assert "multiple of 8, got 60" in error("pretrain", tmp_path, "--kind", "pixel", "--size", 60)
    assert "--size: only of kind pixel" in error("pretrain", tmp_path, "--size", 64)


def test_a_file_of_another_kind_is_refused(model, defence, tmp_path):
    weights = defence / "adapter_model.safetensors"
    assert "adapter" in error("generate", "a", tmp_path, "--lora", weights, *model)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    assert "broken.safetensors" in error("generate", "a", tmp_path, "--lora", broken, *model)


def test_unknown_treatment_and_sections_are_refused(model, defence, tmp_path):
    asked = ["--defence", defence, "--treatment", "half"]
    assert "unknown treatment 'half'" in error("generate", "a", tmp_path / "out", *asked, *model)
    settings = tmp_path / "settings.yaml"
    settings.write_text("unet: {}")
    assert "model, features, clip" in error("pretrain", tmp_path / "out", "--settings", settings)
    settings.write_text("clip: {stepz: 3}")
    assert "stepz" in error("pretrain", tmp_path / "out", "--settings", settings)
    for wrong in ("clip: 3", "clip: []", "clip: 0"):
        settings.write_text(wrong)
        refused = error("pretrain", tmp_path / "out", "--settings", settings)
        assert "clip: expected settings" in refused
    settings.write_bytes(b"\xff")
    assert "settings.yaml: not a text file" in error(
        "pretrain", tmp_path / "out", "--settings", settings
    )
    assert not (tmp_path / "out").exists()
