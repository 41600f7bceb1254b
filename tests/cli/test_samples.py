"""Commands that sample and measure, and the whole chain."""

import json
from pathlib import Path

import pytest
from helpers import SIZE, error, run, save_encoder
from typer.testing import CliRunner

from lord.cli import app
from lord.cli.manifest import Manifest
from lord.data.folder import load_folder
from lord.metrics.lpips import Lpips

QUICK_ATTACK = ["--eps", "8/255", "--step-size", "4/255", "--steps", "1", "--rounds", "1"]


@pytest.mark.usefixtures("few_draws")
def test_from_images_to_numbers(model, album, defence, tmp_path):
    attacked, lora, samples = (
        tmp_path / "attacked",
        tmp_path / "s.safetensors",
        tmp_path / "samples",
    )
    table = run("attack", album, attacked, *QUICK_ATTACK, *model).output
    assert "picture-00000" in table and "8.0/255" not in table and "4.0/255" in table
    assert load_folder(attacked, SIZE).captions == load_folder(album, SIZE).captions

    training = ["--steps", 2, "--batch-size", 2, "--rank", 2]
    run("finetune", attacked, lora, "--defence", defence, *training, *model)
    assert [path.name for path in tmp_path.glob("*.work")] == []

    tuned = ["--lora", lora, "--defence", defence]
    sampling = ["--count", 3, "--steps", 2, "--batch-size", 2]
    run("generate", "a portrait of sks person", samples, *tuned, *sampling, *model)
    assert sorted(path.name for path in samples.glob("*.png")) == [f"{k:05d}.png" for k in range(3)]

    learned = tmp_path / "learned"
    prompt = "a portrait of sks person"
    run("generate", prompt, learned, *tuned, "--treatment", "learned", *sampling, *model)
    assert (learned / "00000.png").read_bytes() != (samples / "00000.png").read_bytes()

    result = run("evaluate", samples, "--reference", album, "--json", *model)
    metrics = json.loads(result.stdout)["metrics"]
    assert set(metrics) == {"fid_embedded", "fid_embedded_round_trip", "clip_iqa_embedded"}
    assert "fid_embedded" in run("evaluate", samples, "--reference", album, *model).stdout


def test_identity_by_an_encoder_and_distances_of_pairs(model, album, tmp_path, monkeypatch):
    monkeypatch.setattr("lord.metrics.lpips.load_lpips", lambda: Lpips().eval())
    encoder = save_encoder(tmp_path / "encoder")
    asked = ["--reference", album, "--identity-model", encoder, "--lpips", *model]
    result = json.loads(run("evaluate", album, *asked, "--json").stdout)["metrics"]
    assert result["lpips_vgg"] == pytest.approx(0, abs=1e-6)
    # Of the references to themselves, every picture has a pair that is equal.
    assert result["identity_ceiling"] < result["identity_similarity"] < 1
    table = run("evaluate", album, *asked).stdout
    assert all(name in table for name in result)


def test_pictures_too_small_to_be_compared_are_named_first(model, album, monkeypatch):
    monkeypatch.setattr("lord.metrics.lpips.load_lpips", Lpips)
    monkeypatch.setattr("lord.api.evaluate", lambda *_: pytest.fail("has measured before"))
    said = error("evaluate", album, "--reference", album, "--lpips", "--size", 8, *model)
    assert "LPIPS" in said and "16 pixels" in said


def test_what_evaluate_lacks_is_said_before_a_model_is_loaded(album, tmp_path, monkeypatch):
    monkeypatch.delattr("lord.cli.samples.open_pipeline")
    (tmp_path / "other").mkdir()
    for path in album.glob("*.png"):
        (tmp_path / "other" / f"x{path.name}").write_bytes(path.read_bytes())
    asked = ["evaluate", album, "--reference"]
    said = error(*asked, tmp_path / "other", "--lpips")
    assert "--lpips compares pictures of one name" in said and "picture-00000" in said
    assert "no such folder" in error(*asked, album, "--identity-model", "./nowhere")
    said = error(*asked, album, "--identity-model", "./nowhere", "--device", "none")
    assert "--device none" in said


def contents(folder: Path) -> dict:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_more_samples_keep_the_first_ones(model, tmp_path):
    sampling = ["--steps", 1, "--batch-size", 2, *model]
    run("generate", "a landscape", tmp_path, "--count", 2, *sampling)
    first = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    run("generate", "a landscape", tmp_path, "--count", 4, *sampling)
    assert len(contents(tmp_path)) == 4
    assert first.items() <= contents(tmp_path).items()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_a_size_that_the_model_cannot_halve_is_named(model, tmp_path):
    refused = error("generate", "a landscape", tmp_path / "out", "--size", 21, *model)
    assert "--size: expected a multiple of" in refused and not (tmp_path / "out").exists()


def test_bytes_that_are_no_text_are_named(model, album, tmp_path):
    out, words = tmp_path / "out", "a\udcffb"
    few = ["--count", 1, "--steps", 1, *model]
    for asked in (
        ["generate", words, out, *few],
        ["generate", "a", out, "--negative-prompt", words, *few],
        ["purify", album, out, "--method", "blur", "--caption", words, *model],
        ["dataset", "inpainting", album, out, "--caption", words],
    ):
        assert "'a\\udcffb': no text" in error(*asked)
        assert not out.exists()


def test_a_killed_overwriting_is_not_taken_for_the_old_samples(model, tmp_path, monkeypatch):
    sampling = ["--count", 1, "--steps", 1, *model]
    run("generate", "a landscape", tmp_path, *sampling)
    first = contents(tmp_path)
    with monkeypatch.context() as patch:
        real, writes = Manifest._write, []

        def killed_at_the_last(manifest):
            writes.append(manifest)
            if len(writes) == 2:
                raise KeyboardInterrupt
            real(manifest)

        patch.setattr(Manifest, "_write", killed_at_the_last)
        CliRunner().invoke(app, [*map(str, ["generate", "a portrait", tmp_path, *sampling])])
    assert contents(tmp_path) != first
    run("generate", "a landscape", tmp_path, *sampling)
    assert contents(tmp_path) == first
