"""The command that lists the components of a model."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from lord.progress import console, results


def components(
    model: Annotated[
        str,
        typer.Argument(
            help="'embedded', a folder in the diffusers layout, or a model on the Hugging Face hub."
        ),
    ],
) -> None:
    """List the components of a model that `lord attack --component` can attack.

    A beginning of names stands for all of them, such as `up.2.attention` or `up`, and so does a
    pattern, such as `*.residual`. Any pipeline of diffusers with a denoiser is listed; `lord
    attack` takes Stable Diffusion models.

    **Example**:

    ```
    lord components embedded
    lord attack album attacked --component up.2.attention
    ```
    """
    with console.status(Text(f"Loading {model} …")):
        from lord.models.components import components as found_in
        from lord.models.components import load_any, parameters_of

        found = found_in(load_any(model))
    table = Table("component", "modules", "parameters")
    for name, modules in found.items():
        table.add_row(name, str(len(modules)), f"{parameters_of(modules):,}")
    results.print(table)
