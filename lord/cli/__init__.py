"""The command line: `lord COMMAND --help` explains each command with an example.

Commands import what they need when they run, so that help appears at once.
"""

# First of all, as the rest takes a moment to load.
import lord.cli.interrupt

# isort: split
import os
from typing import Annotated

import typer

from lord import __version__
from lord.cli import backdoor, dataset, images, models, samples, study
from lord.cli.components import components
from lord.cli.errors import ReportingGroup
from lord.cli.finetune import finetune
from lord.cli.memory import memory
from lord.cli.pretraining import pretrain
from lord.cli.purification import purify

app = typer.Typer(
    cls=ReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PANELS = {
    "Images": (images.render, images.attack, purify, images.audit),
    "Models": (pretrain, models.defend, finetune, components, memory),
    "Samples": (samples.generate, samples.evaluate),
}
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel, no_args_is_help=True)(command)
app.add_typer(dataset.app, name="dataset", rich_help_panel="Images")
app.add_typer(backdoor.app, name="backdoor", rich_help_panel="Models")
app.add_typer(study.app, name="study", rich_help_panel="The study")


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the whole traceback of an error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Low-Rank Defense (LoRD) for latent diffusion models.

    Attack images so that a LoRA trained on them fails, and defend the training against it: on
    pictures rendered here or on a folder of your own, with the model that comes with the package or
    with Stable Diffusion 1.x, 2.x or XL.

    **A first tour**, in this order (minutes on a laptop):

    ```
    lord render album --subject 0
    lord render reference --subject 0 --references --count 256
    lord attack album attacked --eps 8/255 --step-size 1/255 --steps 60 --rounds 1
    lord defend defence --domain portraits
    lord finetune attacked subject.safetensors --defence defence
    lord generate "a portrait of sks person" samples --lora subject.safetensors --defence defence
    lord evaluate samples --reference reference
    ```
    """
    if not debug:
        # Their warnings on import concern image processors that are not used here.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
        # Our own line says that the hub cannot be reached, once.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
