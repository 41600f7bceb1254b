"""U-Nets that learn to inpaint and to upscale, from the tiny pipeline on."""

import pytest
import torch
import yaml
from helpers import error, run

from lord.editing.adaptation import (
    ADAPTED,
    FILE,
    adapt,
    inject,
    learned_weights,
    load_adapted,
    widened,
)
from lord.editing.settings import AdaptationSettings

QUICK = AdaptationSettings(pool=2, steps=2, batch_size=1, rank=2, checkpoint_every=1)


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    base = tmp_path_factory.mktemp("editing")
    return {task: adapt(tiny.pipeline, task, base / task, QUICK) for task in ADAPTED}


def inputs(unet, channels, labels):
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(2, channels, 16, 16, generator=generator)
    text = torch.randn(2, 40, unet.config.cross_attention_dim, generator=generator)
    given = {"class_labels": torch.tensor([3, 20])} if labels else {}
    return noisy, torch.tensor([10, 900]), text, given


@pytest.mark.parametrize(("task", "channels"), [("inpainting", 9), ("super-resolution", 7)])
def test_it_begins_as_the_model_that_it_comes_from(pipeline, task, channels):
    wide = widened(pipeline.unet, task)
    noisy, times, text, given = inputs(wide, channels, task == "super-resolution")
    with torch.no_grad():
        expected = pipeline.unet(noisy[:, :4], times, text).sample
        assert torch.allclose(wide(noisy, times, text, **given).sample, expected, atol=1e-5)
    assert not any(weight.requires_grad for weight in wide.parameters())


def test_what_is_loaded_computes_what_was_learned(pipeline, folders, tmp_path):
    """The low-rank update, added to the weights, against peft's own layers."""
    unet = widened(pipeline.unet, "inpainting")
    inject(unet, 2, 0)
    for name, weight in learned_weights(unet).items():
        if name.endswith(".B"):
            torch.nn.init.normal_(weight, std=0.1)
    from lord.tensors import save_tensors

    save_tensors(learned_weights(unet), tmp_path / FILE, {"task": "inpainting"})
    loaded = load_adapted(pipeline, tmp_path, "inpainting")
    noisy, times, text, _ = inputs(unet, 9, False)
    with torch.no_grad():
        expected = unet(noisy, times, text).sample
        assert torch.allclose(loaded(noisy, times, text).sample, expected, atol=1e-4)
        before = widened(pipeline.unet, "inpainting")(noisy, times, text).sample
    assert not torch.allclose(before, expected, atol=1e-2)
    assert [n for n, _ in loaded.named_parameters()] == [
        n for n, _ in pipeline.unet.named_parameters()
    ]


@pytest.mark.parametrize("task", ADAPTED)
def test_new_channels_are_learned_and_kept_small(pipeline, folders, task):
    unet = load_adapted(pipeline, folders[task], task)
    assert unet.conv_in.weight[:, 4:].abs().max() > 0
    assert (folders[task] / FILE).stat().st_size < 0.6e6
    assert "adaptation.safetensors" in (folders[task] / "README.md").read_text()


def test_a_killed_training_ends_with_the_same_weights(pipeline, folders, tmp_path, monkeypatch):
    import lord.training.loop as loop

    save = loop._save

    def kill(path, state, *rest):
        save(path, state, *rest)
        if state["step"] == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", kill)
    with pytest.raises(KeyboardInterrupt):
        adapt(pipeline, "super-resolution", tmp_path, QUICK)
    monkeypatch.setattr(loop, "_save", save)
    adapt(pipeline, "super-resolution", tmp_path, QUICK)
    again, first = (
        load_adapted(pipeline, folder, "super-resolution")
        for folder in (tmp_path, folders["super-resolution"])
    )
    for one, other in zip(again.parameters(), first.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_wrong_folder_is_refused(pipeline, folders, tmp_path):
    with pytest.raises(FileNotFoundError, match=FILE):
        load_adapted(pipeline, tmp_path, "inpainting")
    with pytest.raises(ValueError, match="learned for inpainting, not for super-resolution"):
        load_adapted(pipeline, folders["inpainting"], "super-resolution")
    with pytest.raises(ValueError, match="choose one of inpainting"):
        widened(pipeline.unet, "variation")


def test_the_command_resumes_and_refuses_other_settings(pretrained, tmp_path):
    settings = tmp_path / "settings.yaml"
    few = {"pool": 2, "steps": 1, "batch_size": 1, "rank": 1}
    settings.write_text(yaml.safe_dump({"editing": few}))
    command = ["pretrain", tmp_path / "out", "--kind", "inpainting", "--settings", settings]
    command += ["--model", pretrained / "embedded"]
    run(*command)
    file = tmp_path / "out" / "inpainting" / FILE
    before = file.stat().st_mtime_ns
    run(*command)
    assert file.stat().st_mtime_ns == before
    assert "other settings" in error(*command[:-1], "embedded")
    settings.write_text(yaml.safe_dump({"editing": few | {"rank": 2}}))
    assert "other settings" in error(*command)
    settings.write_text(yaml.safe_dump({"editng": few}))
    assert "expected the sections editing" in error(*command)
    from_nothing = ["pretrain", tmp_path / "out", "--kind", "pixel", "--model", "theirs"]
    assert "trained from nothing" in error(*from_nothing)
