"""Options of `generate` and `finetune` that practitioners expect."""

from helpers import error, run
from PIL import Image
from safetensors.torch import load_file

FEW = ["--steps", 1, "--batch-size", 2, "--rank", 2, "--target-module", "to_q"]


def test_generate_listens_to_each_option(model, album, tmp_path):
    lora = tmp_path / "kohya.safetensors"
    prior = ["--class-prompt", "a portrait", "--class-count", 2, "--prior-weight", 0.5]
    losses = ["--losses", tmp_path / "losses.csv"]
    trained = run("finetune", album, lora, "--format", "kohya", *losses, *prior, *FEW, *model)
    header, *steps = losses[1].read_text().splitlines()
    assert header == "step,loss,prior" and [line[0] for line in steps] == ["1"]
    for path in (losses[1], losses[1].with_suffix(".png")):
        path.unlink()
    assert "prior" in trained.output
    assert all(name.startswith("lora_unet_") for name in load_file(lora))
    assert [path.name for path in tmp_path.iterdir()] == [lora.name]  # no class images are left

    pictures = set()
    for number, more in enumerate(
        (
            [],
            ["--negative-prompt", "a landscape"],
            ["--scheduler", "euler"],
            ["--lora", lora],
            ["--lora", lora, "--lora-scale", "1/2"],
            ["--size", 16],
        )
    ):
        out = tmp_path / str(number)
        run("generate", "a portrait", out, "--count", 1, "--steps", 2, *more, *model)
        pictures.add((out / "00000.png").read_bytes())
    assert len(pictures) == 6
    assert Image.open(out / "00000.png").size == (16, 16)


def test_little_memory_is_asked_for_or_found(model, album, tmp_path, monkeypatch):
    asked = ["generate", "a portrait", "--count", 1, "--steps", 1, *model]
    run(*asked[:2], tmp_path / "low", *asked[2:], "--memory", "low")
    run(*asked[:2], tmp_path / "usual", *asked[2:])
    low, usual = ((tmp_path / name / "00000.png").read_bytes() for name in ("low", "usual"))
    assert low == usual  # of one picture not even the rounding differs

    monkeypatch.setattr("lord.cli.opening.is_ours", lambda model: False)
    monkeypatch.setattr("lord.models.memory.AMPLE", 2**60)
    said = run(*asked[:2], tmp_path / "found", *asked[2:]).output
    assert "--memory low" in said
    refused = ["purify", album, tmp_path / "out", "--method", "pixel_diffpure", "--memory", "low"]
    assert "--memory" in error(*refused)


def test_what_asks_for_nothing_is_refused(model, album, tmp_path):
    asked = ["generate", "a", tmp_path / "out"]
    for more, message in (
        (["--lora-scale", 2], "there is no --lora"),
        (["--lora", tmp_path, "--lora-scale", 0], "--lora-scale"),
        (["--lora", tmp_path, "--lora-scale", 1e30], "--lora-scale"),
        (["--guidance-scale", 1, "--negative-prompt", "b"], "needs guidance"),
        (["--size", 17, *model], "a multiple of 2"),
        (["--revision", "main"], "--revision"),
    ):
        assert message in error(*asked, *more)
    for more in (["--lora-scale", "nan"], ["--guidance-scale", "inf"]):
        assert "is not a number" in run(*asked, *more, code=2).output
    both = ["--prior", album, "--class-prompt", "a", "--prior-weight", 1]
    assert "give one of them" in error("finetune", album, tmp_path / "x.safetensors", *both)
    assert not any(tmp_path.iterdir())
