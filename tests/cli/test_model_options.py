"""Options of `generate` and `finetune` that practitioners expect."""

from helpers import error, run
from PIL import Image
from safetensors.torch import load_file

FEW = ["--steps", 1, "--batch-size", 2, "--rank", 2, "--target-module", "to_q"]


def test_generate_listens_to_each_option(model, album, tmp_path):
    lora = tmp_path / "kohya.safetensors"
    prior = ["--class-prompt", "a portrait", "--class-count", 2, "--prior-weight", 0.5]
    trained = run("finetune", album, lora, "--format", "kohya", *prior, *FEW, *model)
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
