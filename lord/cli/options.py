"""Options and arguments that several commands share, and how their values are read."""

import math
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

import typer

from lord.cli.manifest import Shard
from lord.names import DOMAINS, PURIFIERS

MODEL_PANEL = "Model"
FINER = "Finer settings"

LARGEST_SIDE = 16384
"""Pixels; more are a slip of the finger, and no memory holds them."""

LARGEST_SEED = 2**32 - 1
"""As in other software; what draws random numbers refuses much larger ones."""

Device = Annotated[
    str | None,
    typer.Option(
        help="Where to compute: cuda, cuda:1, mps or cpu.",
        show_default="the fastest",
        rich_help_panel=MODEL_PANEL,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Images at a time: memory and speed.",
        show_default="16, and 2 for Stable Diffusion, 1 with --memory low",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        min=8,
        max=LARGEST_SIDE,
        help="Side of the square images, in pixels.",
        show_default="the model's own",
    ),
]
Upscale = Annotated[
    bool, typer.Option("--upscale", help="Enlarge images that are smaller, instead of refusing.")
]
Domain = Literal[DOMAINS]
Purifier = Literal[(*PURIFIERS,)]
Originals = Annotated[Path, typer.Argument(help="Folder of images, captions in .txt files.")]
Seed = Annotated[int, typer.Option(max=LARGEST_SEED, help="The same seed gives the same result.")]
Caption = Annotated[
    str, typer.Option(help="The caption of images that have none, in a .txt file or otherwise.")
]


def parse_number(text: str | float) -> float:
    """A finite number, also written as a fraction such as ``8/255``."""
    try:
        number = float(Fraction(str(text).strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise typer.BadParameter(f"{text!r} is not a number such as 0.03 or 8/255.")
    return number


def parse_shard(text: str) -> Shard:
    """A share such as ``2/8``."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= 100_000):
        raise typer.BadParameter(f"{text!r} is not a share such as 2/8, the second of eight.")
    return Shard(int(number), int(of))


Share = Annotated[
    Shard | None,
    typer.Option(
        "--shard",
        parser=parse_shard,
        metavar="NUMBER/OF",
        help="Make this share of the batches alone, such as 2/8: the second of eight that make the "
        "same folder together, at the same time if you like.",
        show_default="all",
    ),
]
