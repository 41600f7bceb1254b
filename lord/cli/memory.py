"""The command that tells beforehand how much memory the others take."""

from csv import DictWriter
from io import StringIO
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from lord.cli.options import LARGEST_SIDE
from lord.names import MEMORIES, SHAPES
from lord.progress import results, track


def memory(
    size: Annotated[
        list[int],
        typer.Option(min=64, max=LARGEST_SIDE, help="Side of the pictures; may be repeated."),
    ] = [512],  # noqa: B006
    shape: Annotated[
        Literal[SHAPES], typer.Option(help="Of the model: Stable Diffusion 1.5 or XL.")
    ] = "sd15",
    level: Annotated[
        Literal[MEMORIES] | None,
        typer.Option(help="As with --memory of the commands.", show_default="both"),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            help="Write the table to this file, too; its columns at other sizes stay.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Count the memory that commands take with Stable Diffusion on a card.

    No card is needed, and no weights: the sizes of all tensors are counted. The numbers are GiB at
    the peak, in half precision, with the batches that commands take by themselves. A gigabyte or
    so comes on top, for CUDA itself and for what its allocator holds in reserve.

    **Example**: at two sizes, as a table and as a file. It takes minutes.

    ```
    lord memory --size 512 --size 1024 --csv memory.csv
    ```
    """
    if any(side % 64 for side in size):
        raise ValueError("--size: expected a multiple of 64")
    from lord.files import require_writable, write_text

    if csv is not None:
        require_writable(csv)
    from lord.demands import COMMANDS, peak_of

    found: dict[str, dict[str, str]] = {name: {} for name in COMMANDS}
    if csv is not None and csv.exists():
        found = read_table(csv, found)
    levels = [level] if level else MEMORIES
    for side, kind in track([(side, kind) for side in size for kind in levels], "counting"):
        for name, row in found.items():
            peak = peak_of(name, side, kind == "low", shape) / 2**30
            row[f"{side} px, {kind}"] = f"{peak:.2f}"
        if csv is not None:
            write_text(csv, as_csv(found))
    columns = list(found["attack"])
    table = Table("command", *columns)
    for name, row in found.items():
        table.add_row(name, *row.values())
    results.print(table)


def read_table(path: Path, empty: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The rows of a file of this command, whose columns at other sizes stay.

    Raises:
        ValueError: the file is another.
    """
    from lord.files import read_rows

    found = {row.pop("command", None): row for row in read_rows(path)}
    if found.keys() != empty.keys():
        raise ValueError(f"{path}: not written by `lord memory` of this version; not replaced")
    return found


def as_csv(rows: dict[str, dict[str, str]]) -> str:
    """The table as text."""
    text = StringIO()
    writer = DictWriter(text, ["command", *next(iter(rows.values()))], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"command": name} | row for name, row in rows.items())
    return text.getvalue()
