"""Commands that write pictures: render, attack, purify."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SIZE, error, run
from PIL import Image
from typer.testing import CliRunner

from lord.attacks import pgd as attacks
from lord.attacks.pgd import denoising_loss
from lord.cli import app
from lord.cli.folders import DRAWS, attack_table
from lord.data.folder import load_folder
from lord.data.picture import read_image
from lord.data.subjects import Subject
from lord.data.tiles import split
from lord.models.pipeline import load_pipeline
from lord.purifiers import methods
from lord.purifiers.settings import PixelPurifier

QUICK_ATTACK = ["--eps", "8/255", "--step-size", "4/255", "--steps", "1", "--rounds", "1"]


def test_rendered_folder(album):
    images = load_folder(album, SIZE)
    assert torch.equal(
        images.images, Subject("portraits", "evaluation", 0).photographs(3, SIZE).images
    )
    assert images.captions == ["a portrait of sks person"] * 3


def test_rendered_strangers_are_described_and_differ_by_seed(tmp_path):
    for seed in (0, 1):
        run("render", tmp_path / f"{seed}", "--count", 2, "--size", SIZE, "--seed", seed)
    first, second = load_folder(tmp_path / "0", SIZE), load_folder(tmp_path / "1", SIZE)
    assert not torch.equal(first.images, second.images)
    assert all("portrait" in caption and "sks" not in caption for caption in first.captions)


def contents(folder: Path) -> dict:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@pytest.mark.usefixtures("few_draws")
def test_a_killed_attack_goes_on_and_ends_the_same(model, album, tmp_path, monkeypatch):
    arguments = [*QUICK_ATTACK, "--batch-size", 1, *model]
    run("attack", album, tmp_path / "whole", *arguments)
    real, calls = attacks.attack, []

    def killed_at_the_third(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    resumed = tmp_path / "resumed"
    monkeypatch.setattr(attacks, "attack", killed_at_the_third)
    assert (
        CliRunner().invoke(app, [str(a) for a in ("attack", album, resumed, *arguments)]).exit_code
    )
    assert len(contents(resumed)) == 2
    table = run("attack", album, resumed, *arguments).output
    assert len(calls) == 4  # the third image only
    assert contents(resumed) == contents(tmp_path / "whole")
    assert "mean of 3" in table

    run("attack", album, resumed, *arguments)
    assert len(calls) == 4  # all is there
    run("attack", album, resumed, *arguments, "--seed", 1)
    assert len(calls) == 7  # another request
    (resumed / "picture-00001.png").unlink()
    run("attack", album, resumed, *arguments, "--seed", 1)
    assert len(calls) == 8


def test_pictures_of_any_shape_keep_it(model, tmp_path):
    """Wider, larger and smaller than the model's images, and a transparent one."""
    shapes = {"wide": (40, 21, 3), "large": (48, 50, 3), "small": (17, 18, 3), "clear": (32, 20, 4)}
    (tmp_path / "in").mkdir()
    random = np.random.default_rng(0)
    for name, shape in shapes.items():
        pixels = random.integers(60, 190, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    run("attack", tmp_path / "in", tmp_path / "out", *QUICK_ATTACK, *model)
    manifest = json.loads((tmp_path / "out" / ".lord.json").read_text())
    pipeline = load_pipeline(model[1])
    for name, shape in shapes.items():
        before, after = (read_image(tmp_path / d / f"{name}.png", None) for d in ("in", "out"))
        assert after.shape == before.shape == (3, *shape[:2])
        change = ((after - before).abs() * 255).amax(dim=0)
        assert 0 < change.max() <= 8 + 1e-3
        assert (change > 0).float().mean() > 0.5  # to the last row and column
        assert (change[-2:] > 0).any() and (change[:, -2:] > 0).any()
        entry = manifest[name]
        assert entry["eps"] * 255 == pytest.approx(change.max().item()) and entry["ssim"] < 1
        # The table is about the saved picture, all of it.
        for loss, image in (("before", before), ("after", after)):
            parts = split(image, SIZE)
            losses = denoising_loss(pipeline, parts, ["a photograph"] * len(parts), DRAWS)
            assert entry[f"loss_{loss}"] == pytest.approx(losses.mean().item(), rel=1e-4)
    length = ["--norm", "l2", "--eps", 1, "--step-size", 1]
    assert "give --size" in error("attack", tmp_path / "in", tmp_path / "no", *length, *model)
    small = tmp_path / "tiny"
    small.mkdir()
    Image.new("RGB", (40, 9)).save(small / "strip.png")
    assert "strip.png: 40×9 pixels are too few" in error("attack", small, tmp_path / "no", *model)


def test_purifying_again_makes_what_is_missing(model, album, tmp_path):
    arguments = ["--method", "blur", "--batch-size", 2, *model]
    run("purify", album, tmp_path, *arguments)
    first = contents(tmp_path)
    assert set(first) == set(contents(album)) and first != contents(album)
    captions = [path.read_text() for path in sorted(tmp_path.glob("*.txt"))]
    assert captions == [path.read_text() for path in sorted(album.glob("*.txt"))]
    kept, lost = sorted(tmp_path.glob("*.png"))[0], sorted(tmp_path.glob("*.png"))[2]
    written = kept.stat().st_mtime_ns
    lost.unlink()
    run("purify", album, tmp_path, *arguments)
    assert contents(tmp_path) == first and kept.stat().st_mtime_ns == written
    run("purify", album, tmp_path, "--method", "jpeg", *model)
    assert contents(tmp_path) != first


def test_purifying_in_pixels_keeps_the_size_of_pictures(pixel_model, tmp_path, monkeypatch):
    few = PixelPurifier(method="diffpure_ode", steps=2)
    monkeypatch.setitem(methods.PURIFIERS, "pixel_diffpure_ode", partial(methods.in_pixels, few))
    shapes = {"square": (16, 16), "wide": (17, 24), "another": (16, 16)}
    (tmp_path / "in").mkdir()
    for name, shape in shapes.items():
        Image.new("RGB", shape[::-1], (200, 90, 40)).save(tmp_path / "in" / f"{name}.png")
    own = ["--pixel-model", pixel_model, "--device", "cpu"]
    asked = ["purify", tmp_path / "in", tmp_path / "out", "--method", "pixel_diffpure_ode"]
    run(*asked, *own)
    first = contents(tmp_path / "out")
    for name, shape in shapes.items():
        assert read_image(tmp_path / "out" / f"{name}.png", None).shape == (3, *shape)
    assert first["square.png"] != first["another.png"]  # each by noise of its own
    run(*asked, *own, "--batch-size", 1)
    assert contents(tmp_path / "out") == first
    run(*asked, *own, "--size", 8)
    assert read_image(tmp_path / "out" / "wide.png", None).shape == (3, 8, 8)


def test_a_purifier_says_which_model_it_uses(pixel_model, pretrained, model, album, tmp_path):
    def refused(method, *arguments):
        return error("purify", album, tmp_path, "--method", method, *arguments)

    assert "pixel_gdmp uses --pixel-model" in refused("pixel_gdmp", *model)
    assert "--pixel-model: blur uses --model" in refused("blur", "--pixel-model", pixel_model)
    folder = pretrained / "embedded"
    assert f"{folder}: not an unconditional" in refused("pixel_gdmp", "--pixel-model", folder)
    assert "no diffusers pipeline there" in refused("pixel_gdmp", "--pixel-model", "nowhere")


def test_a_corrupt_image_is_named_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.delattr("lord.models.pipeline.load_pipeline")
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert "bad.png: not a readable image" in error("attack", tmp_path, tmp_path / "out")


def test_what_an_attack_used_is_said_in_its_norm():
    entry = dict.fromkeys(("eps", "ssim", "loss_before", "loss_after", "seconds"), 1.0)
    used = {norm: [*attack_table({"a": entry}, norm).columns[1].cells] for norm in ("linf", "l2")}
    assert used == {"linf": ["255.0/255"] * 2, "l2": ["1.00"] * 2}


def test_losses_are_shown_where_they_were_measured():
    entry = dict.fromkeys(("eps", "ssim", "seconds"), 1.0)
    headers = [column.header for column in attack_table({"a": entry}).columns]
    assert headers == ["image", "eps used", "SSIM", "seconds"]
    whole = {"a": entry | {"loss_before": 1.0, "loss_after": 2.0}}
    headers = [column.header for column in attack_table(whole).columns]
    assert headers == ["image", "eps used", "SSIM", "loss before", "loss after", "seconds"]
    assert [*attack_table(whole | {"b": whole["a"]}).columns[4].cells] == ["2.0000"] * 3


def test_what_is_measured_of_an_attack_takes_a_fraction_of_it(model, album, tmp_path, monkeypatch):
    """The surrogate and the steps of ACE take hundreds of passes an image; the table, sixteen."""
    pipeline, passes = load_pipeline(model[1]), []
    monkeypatch.setattr("lord.cli.images.open_pipeline", lambda _: pipeline)
    pipeline.unet.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    monkeypatch.setattr("lord.attacks.pgd.attack", lambda _, images, *others: images)
    run("attack", album, tmp_path / "out", *model)
    assert sum(passes) == 2 * DRAWS * 3 and len(passes) == 2 * DRAWS  # all images at a time


def test_a_hub_that_cannot_be_reached_is_one_line(album, tmp_path, monkeypatch):
    def unreachable(*arguments):
        raise OSError("a page of text\nabout the network")

    monkeypatch.setattr("lord.models.pipeline.load_pipeline", unreachable)
    text = error("attack", album, tmp_path, "--model", "somebody/model")
    assert "--model somebody/model: not a folder here" in text
    text = error("attack", album, tmp_path / "out", "--model", tmp_path)
    assert f"--model {tmp_path}: a part is missing or damaged" in text
