"""What a command may write over, what it says of the folders it reads, and who may write where."""

import json
import shutil

import pytest
from helpers import SIZE, error, run
from PIL import Image
from typer.testing import CliRunner

from lord.cli import app
from lord.cli.manifest import Manifest
from lord.cli.outputs import HELD, require_defence_out
from lord.files import reserved
from lord.tensors import save_tensors

QUICK = ["--count", 2, "--size", SIZE]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


@pytest.fixture
def rendered(tmp_path):
    run("render", tmp_path / "a", "--subject", 0, *QUICK)
    return tmp_path / "a"


def pictures(folder, *colours):
    folder.mkdir()
    for k, colour in enumerate(colours):
        Image.new("RGB", (SIZE, SIZE), colour).save(folder / f"picture-{k:05d}.png")
    return folder


def test_pictures_of_one_s_own_are_never_written_over(tmp_path):
    own = pictures(tmp_path / "own", "red", "green")
    before = contents(own)
    refused = error("render", own, "--subject", 0, *QUICK)
    assert f"{own}: not written here by this program" in refused
    assert "picture-00000.png, picture-00001.png" in refused
    assert contents(own) == before


def test_originals_are_never_written_over_by_what_is_made_of_them(model, tmp_path):
    a, b = pictures(tmp_path / "a", "red"), pictures(tmp_path / "b", "blue")
    before = contents(a), contents(b)
    for first, second in ((a, b), (b, a)):
        refused = error("purify", first, second, "--method", "blur", *model)
        assert "not written here by this program" in refused
    assert (contents(a), contents(b)) == before


def test_a_change_is_noticed_and_what_is_deleted_comes_back(rendered):
    again = ("render", rendered, "--subject", 0, *QUICK)
    before = contents(rendered)
    run(*again)
    assert contents(rendered) == before
    (rendered / "picture-00000.png").unlink()
    (rendered / "picture-00001.txt").unlink()
    run(*again)
    assert contents(rendered) == before
    (rendered / "picture-00001.txt").write_text("edited by hand")
    refused = error(*again)
    assert "changed since: picture-00001.txt" in refused
    assert (rendered / "picture-00001.txt").read_text() == "edited by hand"


def test_pictures_of_another_request_are_not_left_beside_new_ones(rendered):
    before = contents(rendered)
    refused = error("render", rendered, "--subject", 1, "--count", 1, "--size", SIZE)
    assert "something else was asked for: picture-00001" in refused
    assert contents(rendered) == before
    said = run("render", rendered, "--subject", 0, "--count", 1, "--size", SIZE).output
    assert "holds 1 more, asked for before: picture-00001" in " ".join(said.split())
    run("render", rendered, "--subject", 1, *QUICK)  # replaces all of them
    assert contents(rendered).keys() == before.keys() and contents(rendered) != before


def test_a_folder_is_read_only_as_it_was_written(rendered, tmp_path):
    """What was put there or changed by hand is not taken for what was rendered."""
    quiet = run("dataset", "super-resolution", rendered, tmp_path / "x").output
    assert "since it was written" not in quiet
    (rendered / "picture-00000.png").unlink()
    (rendered / "gone.txt").write_text("nobody's")
    said = run("dataset", "super-resolution", rendered, tmp_path / "y").output
    assert "missing since it was written: picture-00000.png" in said
    assert "no image for the caption gone.txt" in said
    assert sum(line.startswith(f"{rendered}: ") for line in said.splitlines()) == 1  # in one line
    Image.new("RGB", (SIZE, SIZE)).save(rendered / "mine.png")
    (rendered / "picture-00001.txt").write_text("mine")
    for command in (
        ("dataset", "super-resolution", rendered, tmp_path / "z"),
        ("evaluate", rendered, "--reference", rendered),
        ("finetune", rendered, tmp_path / "lora.safetensors"),
        ("attack", rendered, tmp_path / "attacked"),
        ("purify", rendered, tmp_path / "purified"),
        ("audit", rendered, "--defence", tmp_path),
    ):
        refused = error(*command)
        assert "added: mine.png; changed: picture-00001.txt" in refused
        assert f"delete {rendered}/.lord.json" in refused
    (rendered / ".lord.json").unlink()
    run("dataset", "super-resolution", rendered, tmp_path / "z")


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[1]", '{"a": 1}', '{"a": {"request": "x", "eps": 1}}', "[" * 9000, '{"a": null}'),
        '{"a": {"group": "x", "request": null, "files": {"a.png": 5}}}',
        '{"a": {"group": [], "request": "x", "files": {}}}',
        '{"a": {"group": "x", "request": "x", "files": {}, "eps": "0.1"}}',
    ],
)
def test_a_damaged_manifest_is_a_line(rendered, tmp_path, content):
    (rendered / ".lord.json").write_text(content)
    refused = error("render", rendered, "--subject", 0, *QUICK)
    assert ".lord.json: damaged, or of another version" in refused
    refused = error("dataset", "super-resolution", rendered, tmp_path / "x")
    assert ".lord.json: damaged, or of another version" in refused


def test_a_manifest_that_cannot_be_read_is_a_line(rendered, tmp_path):
    (rendered / ".lord.json").unlink()
    (rendered / ".lord.json").mkdir()
    assert ".lord.json: Is a directory" in error("render", rendered, "--subject", 0, *QUICK)
    assert ".lord.json: Is a directory" in error("dataset", "super-resolution", rendered, tmp_path)


def test_rows_of_pictures_that_are_gone_are_left_out_of_a_data_set_and_said(rendered, tmp_path):
    run("dataset", "super-resolution", rendered, tmp_path / "x")
    (rendered / "picture-00001.png").unlink()
    said = run("dataset", "super-resolution", rendered, tmp_path / "x").output
    assert "holds 1 more, asked for before: picture-00001" in " ".join(said.split())
    rows = (tmp_path / "x/train/metadata.jsonl").read_text().splitlines()
    assert len(rows) == 1 and "picture-00000" in rows[0]


def test_a_killed_writer_may_be_followed_by_another(rendered, monkeypatch):
    """Some files new, some old, the manifest between: nothing of it is foreign."""
    before = contents(rendered)

    def killed(path, content):
        if path.name == "picture-00001.png":
            raise KeyboardInterrupt
        path.write_bytes(content)

    other = ["render", rendered, "--subject", 1, *QUICK]
    with monkeypatch.context() as patch:
        patch.setattr("lord.files.write_bytes", killed)
        patch.setattr("lord.files.write_text", lambda path, text: path.write_text(text))
        assert CliRunner().invoke(app, [str(word) for word in other]).exit_code
    mixed = contents(rendered)
    assert mixed != before
    assert mixed["picture-00001.png"] == before["picture-00001.png"]
    run(*other)
    run("render", rendered, "--subject", 0, *QUICK)
    assert contents(rendered) == before


def test_the_second_of_two_commands_on_a_folder_is_refused(tmp_path):
    out = tmp_path / "out"
    with reserved(out):
        refused = error("render", out, *QUICK)
        assert f"{out}: another command is writing there" in refused
        assert "another command" in error("generate", "a", out)
        assert "another command" in error("defend", out, "--domain", "portraits")
    run("render", out, *QUICK)
    assert not (out / ".lord.lock").exists()


@pytest.mark.parametrize("command", ["attack", "purify", "generate", "defend", "finetune"])
def test_a_place_that_cannot_be_written_to_is_found_before_a_model_is_loaded(
    album, tmp_path, monkeypatch, command
):
    monkeypatch.delattr("lord.models.pipeline.load_pipeline")
    (tmp_path / "file").write_text("no folder")
    for place in ("/proc/nowhere/out", tmp_path / "file" / "out", tmp_path / ("x" * 300)):
        words = {
            "attack": ("attack", album, place),
            "purify": ("purify", album, place),
            "generate": ("generate", "a", place),
            "defend": ("defend", place, "--domain", "portraits"),
            "finetune": ("finetune", album, f"{place}.safetensors"),
        }[command]
        assert "cannot be written" in error(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_lora_of_other_origin_is_not_replaced(album, tmp_path, monkeypatch):
    import torch

    monkeypatch.delattr("lord.models.pipeline.load_pipeline")
    out = tmp_path / "o.safetensors"
    save_tensors({"a": torch.zeros(1)}, out)
    assert "not written by `lord finetune`" in error("finetune", album, out)
    out.write_text("no tensors")
    assert "o.safetensors" in error("finetune", album, out)
    assert out.read_text() == "no tensors"


def test_losses_replace_nothing_of_other_origin(album, tmp_path, monkeypatch):
    monkeypatch.delattr("lord.models.pipeline.load_pipeline")
    (tmp_path / "notes.csv").write_text("mine")
    before = contents(tmp_path) | contents(album)
    (tmp_path / "drawn.csv").write_text("step,loss\n")
    (tmp_path / "drawn.png").mkdir()
    out = tmp_path / "o.safetensors"
    for losses, said in (
        (out, "must end in .csv"),
        (tmp_path / "notes.csv", "notes.csv: not written by"),
        (album / "picture-00000.csv", "picture-00000.png: not written by"),
        (tmp_path / "drawn.csv", "drawn.png: cannot be written (Is a directory)"),
    ):
        assert said in error("finetune", album, out, "--losses", losses)
    alone = ("finetune", album, out, "--class-count", 7)
    assert "only with --class-prompt" in error(*alone)
    (tmp_path / "drawn.csv").unlink(), (tmp_path / "drawn.png").rmdir()
    assert contents(tmp_path) | contents(album) == before


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "audit.json"])
def test_a_defence_of_other_origin_is_not_replaced(name, defence, album, tmp_path, monkeypatch):
    import torch

    monkeypatch.delattr("lord.models.pipeline.load_pipeline")
    out = tmp_path / "out"
    out.mkdir()
    if name.endswith(".json"):
        (out / name).write_text("{}")
    else:
        save_tensors({"a": torch.zeros(1)}, out / name)
    before = contents(out)
    assert f"{name}: not written by `lord defend`" in error("defend", out, "--images", album)
    assert contents(out) == before
    shutil.copytree(defence, tmp_path / "ours")
    with HELD:
        require_defence_out(tmp_path / "ours")


def test_a_folder_of_somebody_else_s_work_is_left_alone(model, album, tmp_path):
    work = tmp_path / ".o.work"
    work.mkdir()
    (work / "mine.txt").write_text("mine")
    theirs = work / "attacked-0123456789abcdef"
    theirs.mkdir()
    (theirs / "diary").write_text("dear")
    training = ["--steps", 1, "--batch-size", 2, "--rank", 2]
    run("finetune", album, tmp_path / "o.safetensors", *training, *model)
    assert sorted(path.name for path in work.iterdir()) == [theirs.name, "mine.txt"]
    assert (theirs / "diary").read_text() == "dear"


def test_neighbours_of_another_prompt_and_words_that_are_cut(model, tmp_path):
    out, sampling = tmp_path / "out", ["--steps", 1, *model]
    run("generate", "a landscape", out, "--count", 3, *sampling)
    before = contents(out)
    refused = error("generate", "a portrait", out, "--count", 1, *sampling)
    assert "something else was asked for: 00001, 00002" in refused and contents(out) == before
    long = "a portrait of " + "very " * 90 + "last"
    said = run("generate", long, tmp_path / "long", "--count", 1, *sampling).output
    assert "longer than the" in said and "last" in said


def test_brackets_in_names_are_shown_as_they_are(tmp_path):
    out = tmp_path / "[" / "x]"
    assert str(out) in "".join(run("render", out, *QUICK).output.splitlines())


def test_transparent_pictures_stay_transparent(model, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    Image.new("RGBA", (SIZE, SIZE), (90, 60, 30, 128)).save(source / "clear.png")
    said = run("purify", source, tmp_path / "out", "--method", "blur", *model).output
    assert "1 of 1 is transparent, and seen on white" in said
    with Image.open(tmp_path / "out" / "clear.png") as image:
        assert image.mode == "RGBA" and image.getchannel("A").getextrema() == (128, 128)
        assert image.getpixel((4, 4))[:3] == pytest.approx((90, 60, 30), abs=2)
    manifest = json.loads((tmp_path / "out" / ".lord.json").read_text())
    assert set(manifest["clear"]["files"]) == {"clear.png", "clear.txt"}


def test_pictures_of_no_numbers_are_not_written(model, tmp_path, monkeypatch):
    import torch

    def broken(pipeline, prompt, seeds, *rest):
        return torch.full((len(seeds), 3, SIZE, SIZE), float("nan"))

    monkeypatch.setattr("lord.models.sample.generate", broken)
    refused = error("generate", "a", tmp_path / "out", "--count", 1, *model)
    assert "00000.png: has values that are no finite numbers" in refused
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["attack", "purify", "generate"])
def test_shards_together_are_the_whole(command, model, album, tmp_path):
    few = {
        "attack": ["attack", album, "OUT", "--rounds", 1, "--steps", 1],
        "purify": ["purify", album, "OUT"],
        "generate": ["generate", "a portrait", "OUT", "--count", 3, "--steps", 1],
    }[command]
    few += ["--batch-size", 2, *model]

    def made(out, *more):
        run(*(out if part == "OUT" else part for part in few), *more)
        return {path.name: path.read_bytes() for path in out.glob("[!.]*")}

    whole = made(tmp_path / "whole")
    first = made(tmp_path / "shards", "--shard", "2/2")
    assert 0 < len(first) < len(whole)
    assert made(tmp_path / "shards", "--shard", "1/2") == whole
    known = [Manifest(tmp_path / name).entries for name in ("whole", "shards")]
    for entries in known:
        for entry in entries.values():
            entry.pop("seconds", None)
    assert known[0] == known[1]


def test_a_share_is_one_of_several_and_of_what_can_be_shared(album, tmp_path):
    asked = ["attack", album, tmp_path / "out", "--shard"]
    for text in ("0/2", "3/2", "2", "a/b"):
        assert "2/8" in run(*asked, text, code=2).output
    assert "learns from all images" in error(*asked, "1/2")
    assert "learns from all images" in error("purify", *asked[1:], "1/2", "--method", "cat")
