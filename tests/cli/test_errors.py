"""Errors: one line, exit code 1, before any long work."""

import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from helpers import SIZE, error, run
from PIL import Image
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from lord.cli import app
from lord.errors import described, one_line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["attack", "nowhere", "out"], "nowhere: no such folder"),
        (["attack", ".", "."], "give another folder than that of the originals"),
        (["attack", ".", "out", "--eps", "0"], "eps: Input should be greater"),
        (["attack", ".", "out", "--target", "cat.png"], "cat.png: no such file"),
        (["attack", ".", "out", "--model", "./nowhere"], "no diffusers pipeline there"),
        (["attack", ".", "out", "--device", "abacus"], "--device abacus"),
        (["attack", ".", "out", "--norm", "l2"], "eps: Field required"),
        (["attack", ".", "out", "--component", ""], "component: String should have at least 1"),
        (["attack", ".", "a.png"], "a.png: is a file"),
        (["attack", "empty.safetensors", "out"], "no images in it"),
        (["purify", "nowhere", "out"], "nowhere: no such folder"),
        (["purify", ".", "."], "give another folder than that of the originals"),
        (["finetune", "nowhere", "x.safetensors"], "nowhere: no such folder"),
        (["finetune", ".", "x.safetensors", "--defence", "."], "a defence that `lord defend`"),
        (["audit", ".", "--defence", "nowhere"], "a defence that `lord defend`"),
        (["generate", "a", "out", "--defence", "nowhere"], "a defence that `lord defend`"),
        (["finetune", ".", "x.pt"], "must end in .safetensors"),
        (["finetune", ".", "empty.safetensors"], "the LoRA is a file"),
        (["finetune", ".", "x.safetensors", "--prior", "."], "--prior-weight: give both"),
        (["finetune", ".", "x.safetensors", "--rank", "0"], "rank: Input should be greater"),
        (["defend", "out"], "either --images FOLDER or --domain"),
        (["generate", "a", "out", "--lora", "x.safetensors"], "x.safetensors: no such file"),
        (["generate", "a", "out", "--treatment", "merged"], "none is given"),
        (["evaluate", "nowhere", "--reference", "."], "nowhere: no such folder"),
        (["generate", "a", "a.png"], "a.png: is a file"),
        (["render", "a.png"], "a.png: is a file"),
        (["render", "out", "--references"], "give the --subject"),
        (["pretrain", "out", "--settings", "no.yaml"], "no.yaml: No such file"),
        (["study", "status", "--profile", "huge"], "unknown profile 'huge'"),
        (["study", "notebook", "99_more"], "unknown notebook '99_more'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (SIZE, SIZE)).save("a.png")
    (tmp_path / "empty.safetensors").mkdir()
    assert message in error(*arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "empty.safetensors"]


@pytest.mark.parametrize("name", ["x[/y]", "[red]x", "a\nb", "\x1b[2Jx"])
def test_a_name_is_shown_as_it_is_and_obeyed_by_nobody(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = error("components", f"./{name}")
    assert "no diffusers pipeline" in text and text.count("\n") == 1 and "\x1b" not in text
    assert repr(name)[1:4] in text or name[0] in text


def test_a_message_is_short_whatever_the_input():
    assert len(described(ValueError("x" * 10**6))) < 1100
    assert one_line("a\tb\ud800\u202e") == "a b\\ud800\\u202e"

    class Settings(BaseModel):
        names: dict[str, int]

    with pytest.raises(ValidationError) as caught:
        Settings(names="x" * 10**6)
    assert len(described(caught.value)) < 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render", "out", "--count", "100000000000"], "count"),
        (["render", "out", "--size", "100000"], "size"),
        (["attack", ".", "out", "--steps", "100000000000"], "steps: expected a number up to"),
        (["attack", ".", "out", "--eps", "1e400"], "eps"),
        (["finetune", ".", "x.safetensors", "--seed", "9" * 20], "seed: expected a number up to"),
        (["generate", "a", "out", "--seed", "9" * 20], "--seed"),
        (["render", "out", "--seed", "9" * 20], "--seed"),
        (["dataset", "super-resolution", ".", "out", "--factor", "9" * 9], "--factor"),
        (
            ["dataset", "super-resolution", ".", "out", "--factor", "60"],
            "pixels are too few",
        ),
        (["pretrain", "out", "--kind", "pixel", "--size", "100000"], "--size"),
        (["defend", "out", "--learning-rate", "1e300"], "learning_rate: expected a number up to"),
    ],
    ids=str,
)
def test_a_number_that_nobody_means_is_refused(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (SIZE, SIZE)).save("a.png")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (1, 2) and message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "shortage", [MemoryError(), RuntimeError("[enforce] can't allocate memory: you tried to")]
)
def test_too_little_memory_is_one_line(shortage, tmp_path, monkeypatch):
    monkeypatch.setattr("lord.data.subjects.sample_domain", mock.Mock(side_effect=shortage))
    said = error("render", tmp_path / "out")
    assert "not enough memory" in said and "--memory low" in said


def test_a_bug_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr("lord.data.subjects.sample_domain", mock.Mock(side_effect=KeyError("x")))
    result = CliRunner().invoke(app, ["render", str(tmp_path / "out")])
    assert isinstance(result.exception, KeyError)


def test_ctrl_c_ends_with_a_line_that_says_how_to_go_on(monkeypatch, tmp_path):
    monkeypatch.setattr("lord.cli.manifest.Manifest.put", mock.Mock(side_effect=KeyboardInterrupt))
    result = run("render", tmp_path / "out", "--count", 1, "--size", SIZE, code=130)
    assert result.stderr == "Stopped. The same command, run again, goes on from what is finished.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("arguments", [["study", "experiments"], ["--version"], ["--help"]])
def test_results_that_nobody_can_take_are_a_line(arguments):
    code = f"from lord.cli import app; app({arguments})"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "Error: standard output: No space left on device\n"
