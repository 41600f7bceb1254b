"""What the command line says of itself."""

import re
import shlex
import subprocess
import sys

import pytest
import typer
from helpers import run
from typer.testing import CliRunner

import lord
from lord.cli import app
from lord.study.notebooks import BOOK

REPOSITORY = BOOK.parent
COMMANDS = typer.main.get_command(app).commands
PATHS = [
    *[[name] for name in COMMANDS],
    *[
        [group, name]
        for group in ("backdoor", "dataset", "study")
        for name in COMMANDS[group].commands
    ],
]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_explains_every_command_and_option(path):
    text = run(*path, "--help").output
    command = COMMANDS[path[0]] if len(path) == 1 else COMMANDS[path[0]].commands[path[1]]
    assert command.help
    assert all(parameter.help for parameter in command.params)
    if len(path) == 1:
        assert "Example" in text and f"lord {path[0]}" in text


def written_commands():
    """The commands in the code blocks of the pages for users, as words."""
    pages = [REPOSITORY / "README.md", BOOK / "own_images.md", BOOK / "own_models.md"]
    for page in pages:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.splitlines():
                program, _, rest = line.partition("lord ")
                if line.startswith("lord ") or program.startswith("accelerate "):
                    words = shlex.split(rest.replace("$SLURM_ARRAY_TASK_ID", "3"), comments=True)
                    yield pytest.param(words, id=line)


@pytest.mark.parametrize("words", written_commands())
def test_commands_on_the_pages_can_be_typed(words):
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)  # reads the options, and runs nothing


def test_help_loads_no_framework():
    code = (
        "import sys, lord.cli; from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(lord.cli.app, ['attack', '--help']).exit_code == 0\n"
        "assert not {'torch', 'diffusers', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_version():
    assert run("--version").output.strip() == lord.__version__


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


def test_debug_shows_the_traceback():
    result = CliRunner().invoke(app, ["--debug", "attack", "nowhere", "out"])
    assert isinstance(result.exception, FileNotFoundError)
