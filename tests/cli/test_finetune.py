"""What `lord finetune` shows while it trains, and how several processes share it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SIZE, error, run
from PIL import Image
from safetensors.torch import load_file

from lord import progress
from lord.cli.watching import curve_of
from lord.study.notebooks import BOOK
from lord.training.loop import make_optimizer

FEW = ["--steps", 4, "--batch-size", 2, "--rank", 2, "--target-module", "to_q"]


def test_samples_and_losses_lie_beside_the_lora(album, model, tmp_path):
    out, losses = tmp_path / "subject.safetensors", tmp_path / "losses.csv"
    asked = ["finetune", album, out, *FEW, *model, "--learning-rate", 0.5]
    run(*asked, "--losses", losses, "--samples-every", 2, "--sample-prompt", "a portrait")
    found = sorted((tmp_path / "subject.samples").glob("[!.]*"))
    assert [path.name for path in found] == ["step-000002.png", "step-000004.png"]
    first, last = (np.asarray(Image.open(path)) for path in found)
    assert first.shape == last.shape == (SIZE, 4 * SIZE, 3) and (first != last).any()
    assert len(losses.read_text().splitlines()) == 5
    assert Image.open(losses.with_suffix(".png")).width > 100
    watched = load_file(out)
    run("finetune", album, tmp_path / "plain.safetensors", *asked[3:])
    plain = load_file(tmp_path / "plain.safetensors")
    assert all(torch.equal(watched[name], weight) for name, weight in plain.items())


def test_samples_replace_nothing_and_stay_with_none_of_another_training(album, model, tmp_path):
    shown = tmp_path / "x.samples"
    shown.mkdir()
    picture = shown / "step-000002.png"
    Image.new("RGB", (8, 8)).save(picture)
    before = picture.read_bytes()
    asked = ["finetune", album, tmp_path / "x.safetensors", *FEW, *model, "--samples-every"]
    assert "x.samples: not written here by this program" in error(*asked, 2)
    assert picture.read_bytes() == before
    picture.unlink()
    run(*asked, 2)
    again = {path.name: path.read_bytes() for path in shown.iterdir()}
    run(*asked, 2)
    assert {path.name: path.read_bytes() for path in shown.iterdir()} == again
    refused = error(*asked, 4, "--learning-rate", 0.1)
    assert "something else was asked for: step-000002" in refused
    assert {path.name: path.read_bytes() for path in shown.iterdir()} == again


def test_samples_and_classes_that_are_none_are_refused(album, tmp_path, monkeypatch):
    monkeypatch.delattr("lord.models.pipeline.load_pipeline")
    asked = ["finetune", album, tmp_path / "x.safetensors"]
    assert "without --samples-every" in error(*asked, "--sample-prompt", "a portrait")
    assert "the training has 4 steps" in error(*asked, "--steps", 4, "--samples-every", 5)
    said = error(*asked, "--class-prompt", " ", "--prior-weight", 1)
    assert "--class-prompt: it says nothing" in said
    (tmp_path / "x.samples").write_text("a file")
    assert "x.samples: is a file" in error(*asked, "--samples-every", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.samples"]


@pytest.mark.parametrize("command", ["finetune", "defend"])
def test_a_layer_that_is_not_there_is_found_before_the_work(
    album, model, tmp_path, monkeypatch, command
):
    monkeypatch.delattr("lord.training.adapters.encode")
    monkeypatch.delattr("lord.attacks.pgd.attack")
    if command == "finetune":
        asked = ["finetune", album, tmp_path / "x.safetensors"]
    else:
        asked = ["defend", tmp_path / "out", "--images", album]
    asked += ["--target-module", "to_q", "--target-module", "nothing", *model]
    assert "target_modules: the U-Net has no layer 'nothing'" in error(*asked)
    assert "rank: Input should be less than" in error(*asked[:-4], *model, "--rank", 10**5)


def test_a_curve_is_drawn_of_one_step_too():
    assert curve_of({"loss": [0.5], "prior": [0.25]}).startswith(b"\x89PNG")


def test_tensorboard_is_told_each_loss_as_it_is_made(album, model, tmp_path, monkeypatch):
    asked = ("finetune", album, tmp_path / "x.safetensors", *FEW, *model)
    asked = (*asked, "--tensorboard", tmp_path / "runs", "--losses", tmp_path / "losses.csv")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert "[tensorboard]" in error(*asked)
    told = []

    class Writer:
        def __init__(self, folder):
            told.append(folder)

        def add_scalar(self, name, value, step):
            told.append((name, value, step))

        def flush(self):
            told.append(len(told))

    fake = type(sys)("torch.utils.tensorboard")
    fake.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    run(*asked)
    head, *lines = (tmp_path / "losses.csv").read_text().splitlines()
    written = [entry for entry in told if isinstance(entry, tuple)]
    assert told[0] == tmp_path / "runs" and head == "step,loss"
    assert [f"{step},{value}" for _, value, step in written] == lines and len(lines) == 4


def test_eight_bits_need_their_library_and_a_card(album, model, tmp_path, monkeypatch):
    asked = ("finetune", album, tmp_path / "x.safetensors", *FEW, *model)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    assert "[8bit]" in error(*asked, "--optimizer", "adamw8bit")
    fake = type(sys)("bitsandbytes.optim")
    fake.AdamW8bit = torch.optim.AdamW
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", fake)
    assert "not on cpu" in error(*asked, "--optimizer", "adamw8bit")
    assert make_optimizer("adamw8bit", torch.device("cuda")) is torch.optim.AdamW


def test_without_a_terminal_progress_is_a_line_from_time_to_time(monkeypatch, capsys):
    clock = iter(range(0, 1000, 25))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.track(range(2, 8), "learning", total=8, completed=2)) == [*range(2, 8)]
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "learning: 5/8, 0:01:15 elapsed, 0:01:15 to go",
        "learning: 8/8, 0:02:30 elapsed, 0:00:00 to go",
    ]
    assert list(progress.track(range(2), "short")) == [0, 1] and not capsys.readouterr().err


def test_a_lora_of_the_text_encoder_is_learned_and_sampled_with(album, model, tmp_path):
    out, pictures = tmp_path / "x.safetensors", tmp_path / "samples"
    run("finetune", album, out, *FEW, *model, "--train-text-encoder")
    assert {name.partition(".")[0] for name in load_file(out)} == {"unet", "text_encoder"}
    run("generate", "a portrait", pictures, "--lora", out, "--count", 1, "--steps", 1, *model)
    assert len(list(pictures.glob("*.png"))) == 1
    said = error("finetune", album, out, *FEW, *model, "--train-text-encoder", "--memory", "low")
    assert "take --memory normal" in said


# What the program does for each command, one after the other in the same processes.
PROGRAM = """
import json, sys
from lord.cli import app
for command in json.loads(sys.argv[1]):
    app(command, standalone_mode=False)
"""


@pytest.fixture
def together(tmp_path):
    """Runs commands in two processes, as the book says; what each process has said."""
    text = (BOOK / "own_models.md").read_text(encoding="utf-8")
    recipes = re.findall(r"^accelerate (.*) \S+/lord (finetune|defend) ", text, re.MULTILINE)
    assert [command for _, command in recipes] == ["finetune", "defend"]
    (recipe,) = {words for words, _ in recipes}
    launcher, program = Path(sys.executable).with_name("accelerate"), tmp_path / "program.py"
    program.write_text(PROGRAM)

    def launch(*commands):
        # Any free port, and the number of the process before each line.
        here = ["--main_process_port", "0", "--tee", "3", "--log_dir", str(tmp_path / "log")]
        asked = json.dumps([[str(word) for word in command] for command in commands])
        done = subprocess.run(
            [launcher, *recipe.split(), *here, program, asked],
            env=os.environ | {"ACCELERATE_USE_CPU": "true"},
            capture_output=True,
            text=True,
            timeout=500,
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return ["\n".join(re.findall(rf"^\[default{rank}\]:(.*)", said, re.M)) for rank in (0, 1)]

    return launch


def test_two_processes_learn_what_one_does_and_one_of_them_speaks(album, model, tmp_path, together):
    def defend(out):
        few = ["--identities", 4, "--attack-steps", 1]
        return ["defend", out, "--domain", "portraits", *few, *FEW, *model]

    def finetune(out):
        return ["finetune", album, out, *FEW, *model]

    both, alone = tmp_path / "both", tmp_path / "alone"
    main, other = together(defend(both / "defence"), finetune(both / "lora.safetensors"))
    assert "The LoRA is in" in main and "The defence is in" in main
    assert not re.search("The |loss|lord", other)
    run(*finetune(alone / "lora.safetensors"))
    shared, own = (load_file(folder / "lora.safetensors") for folder in (both, alone))
    assert shared.keys() == own.keys()
    for name, weight in own.items():
        torch.testing.assert_close(shared[name], weight, atol=2e-4, rtol=2e-2)
    assert (both / "defence" / "adapter_model.safetensors").is_file()
    left = [path for path in both.rglob("*") if ".work" in str(path) or ".lord" in path.name]
    assert not left
