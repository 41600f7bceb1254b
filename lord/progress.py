"""One progress bar with an estimate for every long loop."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")

# Progress goes to standard error, so that standard output stays free for results. Names of files
# and models are no markup, whatever brackets they have.
console = Console(stderr=True, markup=False)
results = Console(markup=False)


def say(text: str, style: str | None = None) -> None:
    """Print a line as it is, whatever brackets or numbers are in it."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def track(
    items: Iterable[Item], description: str, total: int | None = None, completed: int = 0
) -> Iterator[Item]:
    """Iterate with a bar, count, elapsed and remaining time; silent when not on a terminal.

    ``completed`` steps count as done already, for loops that resume.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    if total is None and hasattr(items, "__len__"):
        total = completed + len(items)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total, completed=completed)
        for item in items:
            yield item
            progress.advance(task)
