"""One progress bar with an estimate for every long loop; plain lines where there is no terminal."""

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
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

from lord.processes import is_main

Item = TypeVar("Item")

PAUSE = 60.0
"""Seconds between two plain lines, and before the first: what is short says nothing."""

# Progress goes to standard error, so that standard output stays free for results. Names of files
# and models are no markup, whatever brackets they have.
console = Console(stderr=True, markup=False, quiet=not is_main())
results = Console(markup=False, quiet=not is_main())


def say(text: str, style: str | None = None) -> None:
    """Print a line as it is, whatever brackets or numbers are in it."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def track(
    items: Iterable[Item], description: str, total: int | None = None, completed: int = 0
) -> Iterator[Item]:
    """Iterate with a bar, count, elapsed and remaining time.

    Where there is no terminal, such as in the log of a batch job, a line tells the same from time
    to time. ``completed`` steps count as done already, for loops that resume.
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
    if not console.is_terminal:
        yield from _track_in_lines(items, description, total, completed)
        return
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(description, total=total, completed=completed)
        for item in items:
            yield item
            progress.advance(task)


def _track_in_lines(
    items: Iterable[Item], description: str, total: int | None, completed: int
) -> Iterator[Item]:
    start = said = time.monotonic()
    for number, item in enumerate(items, completed + 1):
        yield item
        now = time.monotonic()
        if now - said >= PAUSE:
            said = now
            done, count = number - completed, f"{number}" if total is None else f"{number}/{total}"
            line = f"{description}: {count}, {_clock(now - start)} elapsed"
            if total is not None:
                line += f", {_clock((now - start) / done * (total - number))} to go"
            say(line)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
