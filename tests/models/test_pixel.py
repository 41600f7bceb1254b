"""The unconditional model: training that resumes, folders that load or say why not, sampling."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler

from lord.models.embedded import TINY, build_pipeline
from lord.models.pixel import (
    PREDICTIONS,
    TINY_PIXEL,
    answer_for,
    build_ddpm,
    load_ddpm,
    other_process,
    predicted_noise,
    sample,
    training_schedule,
)
from lord.models.pretrain_pixel import PixelSettings, pretrain_pixel

QUICK = PixelSettings(
    pool=8, steps=4, batch_size=4, checkpoint_every=2, architecture=TINY_PIXEL, seed=3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pretrain_pixel(tmp_path_factory.mktemp("pixel"), QUICK)


def test_stock_diffusers_loads_it(folder):
    pipeline = DDPMPipeline.from_pretrained(folder)
    ours = load_ddpm(folder, "cpu")
    for theirs, own in zip(pipeline.unet.parameters(), ours.unet.parameters(), strict=True):
        assert torch.equal(theirs.float(), own)
    assert not any(parameter.requires_grad for parameter in ours.unet.parameters())
    assert '"image_size": 8' in (folder / "README.md").read_text()


def test_a_killed_training_ends_with_the_same_weights(folder, tmp_path, monkeypatch):
    import lord.training.loop as loop

    save = loop._save

    def kill(path, state, *rest):
        save(path, state, *rest)
        if state["step"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_save", kill)
    with pytest.raises(KeyboardInterrupt):
        pretrain_pixel(tmp_path, QUICK)
    monkeypatch.setattr(loop, "_save", save)
    pretrain_pixel(tmp_path, QUICK)
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_samples_depend_on_noise_and_seed_alone(folder):
    pipeline, noise = load_ddpm(folder, "cpu"), torch.randn(3, 3, 8, 8)
    for seeds in (None, [1, 2, 3]):
        images = sample(pipeline, noise, 5, seeds)
        assert images.shape == noise.shape
        assert torch.equal(images, images.clamp(0, 1))
        alone = sample(pipeline, noise[2:], 5, seeds and seeds[2:])
        assert torch.allclose(images[2:], alone, atol=1e-4)


def test_what_a_folder_cannot_be_is_said_in_one_line(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        load_ddpm(tmp_path)
    build_pipeline(TINY).save_pretrained(tmp_path / "latent")
    with pytest.raises(
        ValueError, match=r"latent: not an unconditional .* StableDiffusionPipeline"
    ):
        load_ddpm(tmp_path / "latent")
    pipeline = build_ddpm(TINY_PIXEL)
    pipeline.save_pretrained(tmp_path / "other")
    index = tmp_path / "other" / "model_index.json"
    parts = json.loads(index.read_text())
    index.write_text(json.dumps(parts | {"scheduler": ["diffusers", "PNDMScheduler"]}))
    with pytest.raises(ValueError, match="its scheduler is PNDMScheduler"):
        load_ddpm(tmp_path / "other")


@pytest.mark.parametrize("size", [None, [8], [8, 8, 8], 9])
def test_a_size_that_no_image_has_is_named(folder, tmp_path, size):
    path = shutil.copytree(folder, tmp_path / "model") / "unet/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": size}))
    with pytest.raises(ValueError, match="model: unet: sample_size is"):
        load_ddpm(tmp_path / "model", "cpu")


def test_pickled_weights_are_not_opened(tmp_path):
    build_ddpm(TINY_PIXEL).save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(OSError, match="safetensors"):
        load_ddpm(tmp_path)


def test_a_ddim_folder_loads_and_what_is_unknown_is_not_scanned(tmp_path):
    pipeline = build_ddpm(TINY_PIXEL)
    pipeline.scheduler = DDIMScheduler()
    pipeline.save_pretrained(tmp_path)
    assert isinstance(load_ddpm(tmp_path, "cpu").scheduler, DDIMScheduler)
    pipeline.scheduler = DDIMScheduler(prediction_type="flow")
    with pytest.raises(ValueError, match="predicts 'flow'"):
        training_schedule(pipeline)
    pipeline.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"prediction_type: .*, not 'flow'"):
        load_ddpm(tmp_path, "cpu")


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_noise_is_told_whatever_a_network_predicts(kind):
    schedule = DDPMScheduler(prediction_type=kind)
    image, noise = torch.randn(2, 3, 3, 4, 4)
    times = torch.tensor([10, 500, 900])
    answers = {
        "epsilon": noise,
        "v_prediction": schedule.get_velocity(image, noise, times),
        "sample": image,
    }

    def network(x, t):
        return SimpleNamespace(sample=answers[kind])

    noisy = schedule.add_noise(image, noise, times)
    assert torch.allclose(predicted_noise(network, schedule, noisy, times), noise, atol=1e-4)
    assert torch.allclose(answer_for(schedule, noise, noisy, times), answers[kind], atol=1e-4)


def test_another_process_has_the_noise_levels_that_it_says():
    schedule = DDPMScheduler()
    same, karras = other_process(schedule, "v_prediction"), other_process(schedule, "edm")
    assert torch.equal(same.alphas_cumprod, schedule.alphas_cumprod)
    sigmas = (1 / karras.alphas_cumprod.double() - 1).sqrt()
    assert sigmas[0].item() == pytest.approx(0.002, rel=0.05)
    assert sigmas[-1].item() == pytest.approx(80, rel=0.01)
    assert {same.config.prediction_type, karras.config.prediction_type} == {"v_prediction"}
