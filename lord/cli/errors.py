"""Errors as one red line: what is wrong, and where; the traceback only for those who ask."""

from typing import Any

import typer
from typer.core import TyperGroup

from lord.cli.outputs import HELD
from lord.errors import described
from lord.progress import say

# What the package raises for bad input or numbers; anything else is a bug and keeps its traceback.
EXPECTED = (ValueError, OSError, FloatingPointError, ModuleNotFoundError)


class ReportingGroup(TyperGroup):
    """A group of commands that reports expected errors and ends with exit code 1.

    Whatever happens, it lets go of the folders that the command has reserved.
    """

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            with HELD:
                return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our output has seen enough
            raise
        except EXPECTED as error:
            if ctx.params["debug"]:
                raise
            say(f"Error: {described(error)}", style="red")
            raise typer.Exit(1) from error
