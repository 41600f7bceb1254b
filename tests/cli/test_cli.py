"""The command line and the five lines of Python, on a tiny model that a command has trained."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml
from PIL import Image
from typer.testing import CliRunner

import lord
from lord.api import fine_tune
from lord.attacks import pgd as attacks
from lord.attacks.objectives import OBJECTIVES
from lord.attacks.pgd import denoising_loss
from lord.attacks.settings import NOISE, AttackSettings
from lord.cli import app
from lord.cli.folders import attack_table
from lord.cli.options import Domain, Purifier, parse_number
from lord.cli.settings import options_from
from lord.data.folder import load_folder, read_image
from lord.data.subjects import DOMAINS, Subject
from lord.data.tiles import split
from lord.defences.settings import Stage1Settings
from lord.files import save_tensors
from lord.models.embedded import TINY
from lord.models.pipeline import load_pipeline
from lord.models.sample import generate
from lord.names import EXPERIMENTS
from lord.purifiers import PURIFIERS
from lord.study import notebooks
from lord.study.notebooks import REPOSITORY
from lord.study.plan import jobs
from lord.study.profile import load_profile
from lord.training.lora_file import read_safetensors
from lord.training.settings import FinetuneSettings

COMMANDS = typer.main.get_command(app).commands
PATHS = [
    *[[name] for name in COMMANDS],
    *[["study", name] for name in COMMANDS["study"].commands],
]
SIZE = 32
TINY_TRAINING = {
    "model": {
        "architecture": TINY.model_dump(mode="json"),
        "pool": 4,
        "vae_steps": 2,
        "vae_batch": 4,
        "unet_steps": 2,
        "unet_batch": 4,
        "mixed_precision": "no",
    },
    "features": {"width": 8},
    "clip": {"width": 32, "vision_layers": 1, "text_layers": 1},
}
for section in ("features", "clip"):
    TINY_TRAINING[section] |= {
        "steps": 2,
        "batch_size": 4,
        "warmup": 1,
        "images_per_domain": 4,
        "held_out_per_domain": 4,
        "image_size": SIZE,
        "precision": "no",
    }
QUICK_ATTACK = ["--eps", "8/255", "--step-size", "4/255", "--steps", "1", "--rounds", "1"]


def run(*arguments, code=0):
    """Run a command and return its result; ``code`` is the exit code it must have."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder that `lord pretrain` has filled: a model and the networks that measure it."""
    folder = tmp_path_factory.mktemp("trained")
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump(TINY_TRAINING))
    run("pretrain", folder, "--settings", settings)
    return folder


@pytest.fixture(scope="module")
def model(trained) -> list:
    return ["--model", trained / "embedded", "--device", "cpu"]


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """Three photographs of one person, with captions."""
    folder = tmp_path_factory.mktemp("images") / "album"
    run("render", folder, "--subject", 0, "--count", 3, "--size", SIZE)
    return folder


@pytest.fixture(scope="module")
def defence(trained, model) -> Path:
    folder = trained / "defence"
    size = ["--identities", 3, "--attack-steps", 1, "--steps", 3, "--batch-size", 2, "--rank", 2]
    run("defend", folder, "--domain", "portraits", *size, *model)
    return folder


# Help.


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_explains_every_command_and_option(path):
    text = run(*path, "--help").output
    command = COMMANDS[path[0]] if len(path) == 1 else COMMANDS["study"].commands[path[1]]
    assert command.help
    assert all(parameter.help for parameter in command.params)
    if len(path) == 1:
        assert "Example" in text and f"lord {path[0]}" in text


def test_help_loads_no_framework():
    code = (
        "import sys, lord.cli; from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(lord.cli.app, ['attack', '--help']).exit_code == 0\n"
        "assert not {'torch', 'diffusers', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version():
    assert run("--version").output.strip() == lord.__version__


# Options and the settings they stand for.


@pytest.mark.parametrize(
    ("command", "settings"),
    [("finetune", FinetuneSettings), ("defend", Stage1Settings), ("attack", AttackSettings)],
)
def test_every_setting_is_an_option_with_its_default(command, settings):
    options = {parameter.name: parameter for parameter in COMMANDS[command].params}
    defaults = settings().model_dump()
    assert set(defaults) <= set(options)
    for name, default in defaults.items():
        option = options[name].default
        # What is left to the published settings of the method has no default here.
        if option is not None:
            assert (tuple(option) if isinstance(option, list) else option) == default, name


def test_defence_is_learned_against_the_attack_of_the_study():
    options = {parameter.name: parameter.default for parameter in COMMANDS["defend"].params}
    study = load_profile("full").stage1_data
    assert parse_number(options["eps"]) == pytest.approx(study.attack.eps)
    assert parse_number(options["step_size"]) == pytest.approx(study.attack.step_size)
    assert options["attack_steps"] == study.attack.steps
    assert options["identities"] == study.identities


def test_choices_are_those_that_the_library_has():
    assert set(Domain.__args__) == set(DOMAINS)
    for command in ("attack", "defend"):
        options = {parameter.name: parameter for parameter in COMMANDS[command].params}
        methods = options["method"].type_descriptor.annotation
        assert set(methods.__args__) == {*OBJECTIVES, NOISE}
    assert set(Purifier.__args__) == set(PURIFIERS)


def test_a_command_receives_what_its_options_say_as_settings():
    small, seen = typer.Typer(), []

    @small.command()
    @options_from(
        AttackSettings,
        "settings",
        fields=("method", "eps", "steps", "random_start", "transformations"),
        names={"steps": "attack_steps"},
        defaults={"eps": "4/255", "rounds": 1},
        open_fields={"steps": "as published", "random_start": "as published"},
    )
    def command(*, settings: AttackSettings, more: int = 1):
        seen.append((settings, more))

    given = ["--eps", "8/255", "--attack-steps", "3", "--random-start", "--more", "2"]
    for arguments in (given, ["--transformations", "jpeg", "--transformation", "blur"]):
        assert CliRunner().invoke(small, arguments).exit_code == 0
    first = AttackSettings(eps=8 / 255, steps=3, random_start=True, rounds=1)
    second = AttackSettings(eps=4 / 255, transformations=("jpeg", "blur"), rounds=1)
    assert seen == [(first, 2), (second, 1)]


def test_numbers_may_be_fractions():
    assert parse_number("8/255") == 8 / 255
    assert parse_number("0.03") == 0.03
    for text in ("8/0", "eight", ""):
        with pytest.raises(typer.BadParameter, match="not a number such as"):
            parse_number(text)


# The whole chain.


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


def test_a_defence_from_a_folder_leaves_only_its_files(model, album, tmp_path):
    size = ["--attack-steps", 1, "--steps", 1, "--batch-size", 2, "--rank", 2]
    (tmp_path / "audit.json").write_text("{}")  # the calibration of an earlier defence
    assert "too few" in run("defend", tmp_path, "--images", album, *size, *model).output
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors"}


def test_audit(model, album, tmp_path):
    size = ["--attack-steps", 1, "--steps", 2, "--batch-size", 2, "--rank", 2]
    run("defend", tmp_path, "--domain", "portraits", "--identities", 32, *size, *model)
    said = {}
    for prior in ("1/100", "1/2"):
        output = run("audit", album, "--defence", tmp_path, "--prior", prior, *model).stdout
        said[prior] = [int(number) for number in re.findall(r"(\d+)%", output)]
        assert len(said[prior]) == 3 and "picture-00000" in output
    assert max(said["1/100"]) < min(said["1/2"])
    assert "prior" in error("audit", album, "--defence", tmp_path, "--prior", "2", *model)
    (tmp_path / "audit.json").unlink()
    assert "lord defend" in error("audit", album, "--defence", tmp_path, *model)


def test_pretraining_again_changes_nothing(trained):
    weights = [trained / "embedded" / "unet", trained / "features", trained / "clip"]
    before = [sorted(folder.glob("*.safetensors"))[0].read_bytes() for folder in weights]
    run("pretrain", trained, "--settings", trained / "settings.yaml")
    after = [sorted(folder.glob("*.safetensors"))[0].read_bytes() for folder in weights]
    assert before == after
    other = trained / "other.yaml"
    other.write_text("model: {seed: 1}")
    assert "with other settings" in error("pretrain", trained, "--settings", other)


# Going on where a killed run was.


def contents(folder: Path) -> dict:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


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
        losses = denoising_loss(
            pipeline, split(after, SIZE), ["a photograph"] * len(split(after, SIZE))
        )
        assert entry["loss_after"] == pytest.approx(losses.mean().item(), rel=1e-4)
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


def test_more_samples_keep_the_first_ones(model, tmp_path):
    sampling = ["--steps", 1, "--batch-size", 2, *model]
    run("generate", "a landscape", tmp_path, "--count", 2, *sampling)
    first = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
    run("generate", "a landscape", tmp_path, "--count", 4, *sampling)
    assert len(contents(tmp_path)) == 4
    assert first.items() <= contents(tmp_path).items()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_a_killed_overwriting_is_not_taken_for_the_old_samples(model, tmp_path, monkeypatch):
    sampling = ["--count", 1, "--steps", 1, *model]
    run("generate", "a landscape", tmp_path, *sampling)
    first = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("lord.cli.samples.Manifest.add", lambda *_: 1 / 0)
        CliRunner().invoke(app, [*map(str, ["generate", "a portrait", tmp_path, *sampling])])
    assert contents(tmp_path) != first
    run("generate", "a landscape", tmp_path, *sampling)
    assert contents(tmp_path) == first


# Errors: one line, exit code 1, before any long work.


def error(*arguments) -> str:
    result = run(*arguments, code=1)
    assert result.stderr.startswith("Error: ") and "Traceback" not in result.output
    assert result.stderr.count("\n") == 1
    return result.stderr


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
        (["pretrain", "out", "--settings", "no.yaml"], "no.yaml"),
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["attack", ".", "out", "--method", "fgsm"], "ace"),
        (["attack", ".", "out", "--eps", "8/0"], "8/255"),
        (["render", "out", "--domain", "cats"], "landscapes"),
        (["study", "run", "--seed", "one"], "--seed"),
        (["attak"], "attack"),
    ],
)
def test_an_unknown_option_value_names_the_known_ones(arguments, message):
    assert message in run(*arguments, code=2).output


def test_a_corrupt_image_is_named_before_a_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.delattr("lord.models.pipeline.load_pipeline")
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert "bad.png: not a readable image" in error("attack", tmp_path, tmp_path / "out")


def test_what_an_attack_used_is_said_in_its_norm():
    entry = dict.fromkeys(("eps", "ssim", "loss_before", "loss_after", "seconds"), 1.0)
    used = {norm: [*attack_table({"a": entry}, norm).columns[1].cells] for norm in ("linf", "l2")}
    assert used == {"linf": ["255.0/255"] * 2, "l2": ["1.00"] * 2}


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
    settings.write_text("clip: 3")
    assert "clip: expected settings" in error("pretrain", tmp_path / "out", "--settings", settings)
    settings.write_bytes(b"\xff")
    assert "settings.yaml: not a YAML" in error(
        "pretrain", tmp_path / "out", "--settings", settings
    )
    assert not (tmp_path / "out").exists()


def test_a_hub_that_cannot_be_reached_is_one_line(album, tmp_path, monkeypatch):
    def unreachable(*arguments):
        raise OSError("a page of text\nabout the network")

    monkeypatch.setattr("lord.models.pipeline.load_pipeline", unreachable)
    text = error("attack", album, tmp_path, "--model", "somebody/model")
    assert "--model somebody/model: not a folder here" in text
    text = error("attack", album, tmp_path / "out", "--model", tmp_path)
    assert f"--model {tmp_path}: a part is missing or damaged" in text


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(app, ["--debug", "attack", "nowhere", "out"])
    assert isinstance(result.exception, FileNotFoundError)


# The study's commands hand over what they are given.


def test_study_lists_profiles():
    assert "smoke" in run("study", "profiles").output


def test_help_names_every_stage():
    shown = re.split(r"[\s│,.]+", run("study", "run", "--help").output)
    assert set(EXPERIMENTS) <= set(shown)


def test_study_run_and_notebook_pass_their_options(monkeypatch):
    # The package exports a function of the module's name.
    module = importlib.import_module("lord.study.run")
    seen = {}
    monkeypatch.setattr(
        module, "run", lambda *args, **options: seen.update(options, args=args) or []
    )
    run("study", "run", "--profile", "smoke", "--domain", "landscapes", "--subject", 2, "--seed", 1)
    assert seen == {
        "args": ("smoke", None),
        "domain": "landscapes",
        "subject": 2,
        "seed": 1,
        "attack": None,
        "defence": None,
    }
    monkeypatch.setattr(notebooks, "execute_notebook", lambda *args: seen.update(args=args))
    run("study", "notebook", "01_data", "--profile", "smoke", "-p", "compute=False")
    assert seen["args"] == ("01_data", "smoke", {"compute": False})
    monkeypatch.setattr(notebooks, "build_book", lambda *args: seen.update(args=args))
    run("study", "book", "--profile", "smoke", "--strict")
    assert seen["args"] == ("smoke", True)


def test_study_status_counts_states(monkeypatch, tmp_path):
    monkeypatch.setenv("LORD_RESULTS", str(tmp_path))
    last = run("study", "status", "--profile", "smoke").output.splitlines()[-1]
    count = sum(len(job.outputs) for job in jobs(load_profile("smoke")))
    assert f"0 finished, 0 stale, {count} missing" in last


# Python.


def test_every_name_of_the_package_is_there():
    for name in lord.__all__:
        assert getattr(lord, name)
    assert set(lord.__all__) <= set(dir(lord))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lord.nothing


def test_the_example_of_the_readme_runs(trained, album, defence, monkeypatch, capsys):
    """As it is printed, on a tiny model and with few steps."""
    pages = [(REPOSITORY / name).read_text() for name in ("README.md", "book/own_images.md")]
    example, same = (re.search(r"```python\n(.*?)```", page, re.S)[1] for page in pages)
    assert example == same
    few = FinetuneSettings(steps=2, batch_size=2, rank=2)

    def tune(pipeline, images, captions, defence):
        return fine_tune(pipeline, images, captions, few, defence=defence)

    small = {
        "load_pipeline": lambda: load_pipeline(trained / "embedded"),
        "load_folder": lambda folder, size, **options: load_folder(folder, SIZE, **options),
        "AttackSettings": lambda: AttackSettings(steps=1, rounds=1),
        "fine_tune": tune,
        "generate": lambda pipeline, prompt, seeds: generate(pipeline, prompt, seeds[:4], steps=2),
    }
    for name, function in small.items():
        monkeypatch.setattr(lord, name, function, raising=False)
    (album.parent / "defence").symlink_to(defence)
    monkeypatch.chdir(album.parent)
    exec(example, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(set(lines)) == 2 and all("fid_embedded" in line for line in lines)


def test_evaluation_needs_two_images():
    with pytest.raises(ValueError, match="samples: at least two images"):
        lord.evaluate(None, torch.rand(1, 3, SIZE, SIZE), torch.rand(4, 3, SIZE, SIZE))
