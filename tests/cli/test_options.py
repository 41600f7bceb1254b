"""Options and the settings they stand for."""

from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from lord.attacks.objectives import OBJECTIVES
from lord.attacks.settings import COMPONENT, NOISE, AttackSettings
from lord.cli import app
from lord.cli.opening import usual_batch
from lord.cli.options import Domain, Purifier, parse_number
from lord.cli.samples import Sampling
from lord.cli.settings import options_from
from lord.data.subjects import DOMAINS
from lord.defences.settings import Stage1Settings
from lord.purifiers.methods import PURIFIERS
from lord.study.profile import load_profile
from lord.training.settings import FinetuneSettings

COMMANDS = typer.main.get_command(app).commands


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
    study = load_profile("full")["lord"].stage1_data
    assert parse_number(options["eps"]) == pytest.approx(study.attack.eps)
    assert parse_number(options["step_size"]) == pytest.approx(study.attack.step_size)
    assert options["attack_steps"] == study.attack.steps
    assert options["identities"] == study.identities


def test_choices_are_those_that_the_library_has():
    assert set(Domain.__args__) == set(DOMAINS)
    for command in ("attack", "defend"):
        options = {parameter.name: parameter for parameter in COMMANDS[command].params}
        methods = options["method"].type_descriptor.annotation
        assert set(methods.__args__) == {*OBJECTIVES, COMPONENT, NOISE}
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


def test_defaults_follow_the_model(tmp_path):
    small, seen = typer.Typer(), []

    @small.command()
    @options_from(FinetuneSettings, "settings", others={"learning_rate": 1e-4})
    def command(*, settings: FinetuneSettings, model: str = "embedded"):
        seen.append(settings.learning_rate)

    (tmp_path / "features").mkdir()
    beside = ["--model", str(tmp_path / "mine")]
    other = ["--model", "stable-diffusion-v1-5/stable-diffusion-v1-5"]
    asked = ["--learning-rate", "0.5"]
    for arguments in ([], beside, other, [*other, *asked], asked):
        assert CliRunner().invoke(small, arguments).exit_code == 0
    own = FinetuneSettings().learning_rate
    assert seen == [own, own, 1e-4, 0.5, 0.5]
    shown = CliRunner().invoke(small, ["--help"], env={"COLUMNS": "200"}).output
    assert "for Stable Diffusion" in shown
    whole, sparing = (
        SimpleNamespace(unet=SimpleNamespace(is_gradient_checkpointing=spares))
        for spares in (False, True)
    )
    asked = [(None, "embedded", whole), (None, "a/b", whole), (5, "a/b", whole)]
    asked += [(None, "embedded", sparing), (5, "a/b", sparing)]
    assert [usual_batch(*arguments) for arguments in asked] == [16, 2, 5, 1, 5]


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", "1e999"])
def test_settings_are_finite(number):
    for settings, name in (
        (FinetuneSettings, "learning_rate"),
        (Stage1Settings, "bce_weight"),
        (AttackSettings, "eps"),
        (Sampling, "guidance_scale"),
    ):
        with pytest.raises(ValueError, match=f"{name}|finite|greater"):
            settings(**{name: float(number)})


def test_numbers_may_be_fractions():
    assert parse_number("8/255") == 8 / 255
    assert parse_number("0.03") == 0.03
    for text in ("8/0", "eight", ""):
        with pytest.raises(typer.BadParameter, match="not a number such as"):
            parse_number(text)
