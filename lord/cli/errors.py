"""Errors as one red line: what is wrong, and where; the traceback only for those who ask."""

import re
from typing import Any

import typer
from typer.core import TyperGroup

from lord.cli.interrupt import EXIT_CODE, interruptible
from lord.cli.outputs import HELD
from lord.errors import described
from lord.processes import is_main, rank
from lord.progress import say

# What the package raises for bad input or numbers; anything else is a bug and keeps its traceback.
EXPECTED = (ValueError, OSError, FloatingPointError, ModuleNotFoundError)

MEMORY = (
    "not enough memory; --memory low takes less, and so do smaller numbers, as of --batch-size or "
    "--size"
)


class ReportingGroup(TyperGroup):
    """A group of commands that reports expected errors and ends with exit code 1.

    What Ctrl-C ends says in one line how to go on. Whatever happens, the group lets go of the
    folders that the command has reserved.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> typer.Context:
        try:
            return super().make_context(*args, **kwargs)
        except BrokenPipeError:
            raise
        except OSError as error:  # the help or the version, which nobody can take
            say(f"Error: {described(error)}", style="red")
            raise typer.Exit(1) from error

    def invoke(self, ctx: typer.Context) -> Any:
        with interruptible() as interrupt, HELD:
            try:
                return super().invoke(ctx)
            except BrokenPipeError:  # the reader of our output has seen enough
                raise
            except KeyboardInterrupt as error:
                interrupt.say()
                raise typer.Exit(EXIT_CODE) from error
            except Exception as error:
                if interrupt.came:
                    raise typer.Exit(EXIT_CODE) from error
                said = _said(error)
                if said is None or ctx.params["debug"]:
                    raise
                if is_main():
                    say(f"Error: {said}", style="red")
                else:
                    typer.echo(f"Error in process {rank()}: {said}", err=True)
                raise typer.Exit(1) from error


def _said(error: Exception) -> str | None:
    """What the user is told of an error, None if that is a bug."""
    if isinstance(error, EXPECTED):
        return described(error)
    # So say the libraries, each by an error of its own.
    if isinstance(error, MemoryError) or re.search("(out of|allocate) memory", str(error)):
        return MEMORY
    return None
