"""Errors as one red line: what is wrong, and where; the traceback only for those who ask."""

from typing import Any

import typer
from typer.core import TyperGroup

from lord.cli.interrupt import EXIT_CODE, interruptible
from lord.errors import described
from lord.progress import console

# What the package raises for bad input or numbers; anything else is a bug and keeps its traceback.
EXPECTED = (ValueError, OSError, FloatingPointError, ModuleNotFoundError)


class ReportingGroup(TyperGroup):
    """A group of commands that reports expected errors and ends with exit code 1.

    What Ctrl-C ends says in one line how to go on.
    """

    def invoke(self, ctx: typer.Context) -> Any:
        with interruptible() as interrupt:
            try:
                return super().invoke(ctx)
            except BrokenPipeError:  # the reader of our output has seen enough
                raise
            except KeyboardInterrupt as error:
                interrupt.say()
                raise typer.Exit(EXIT_CODE) from error
            except EXPECTED as error:
                if interrupt.came:
                    raise typer.Exit(EXIT_CODE) from error
                if ctx.params["debug"]:
                    raise
                console.print(
                    f"Error: {described(error)}", style="red", highlight=False, soft_wrap=True
                )
                raise typer.Exit(1) from error
