"""`lord study`: the experiments behind the book, and the book."""

import subprocess
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lord.progress import results

app = typer.Typer(no_args_is_help=True)

Profile = Annotated[
    str, typer.Option(help="How much to compute: see `lord study profiles`, or a YAML file.")
]
STYLES = {"finished": "green", "stale": "yellow", "missing": "red"}


@app.callback()
def study() -> None:
    """Run the experiments of the book, and build it.

    A profile says how much to compute. Every experiment writes a record; what is finished is not
    computed again, so a killed run goes on when it is started again.

    **Example**: what is still to do, do it, and build the book.

    ```
    lord study status --profile quick
    lord study run --profile quick
    make study PROFILE=quick
    ```
    """


@app.command()
def profiles() -> None:
    """List the profiles."""
    from lord.study.profile import load_profile, profile_names

    table = Table("profile", "experiments", "records", "evidence")
    for name in profile_names():
        profile = load_profile(name)
        counts = [len(profile.cells(e.name)) for e in profile.experiments]
        evidence = "yes" if profile.evidence else "no"
        table.add_row(name, str(sum(map(bool, counts))), str(sum(counts)), evidence)
    results.print(table)


@app.command()
def experiments() -> None:
    """List the experiments, by paper."""
    from lord.study.registry import experiments as found

    table = Table("experiment", "paper", "asks")
    for experiment in found().values():
        table.add_row(experiment.name, experiment.paper, experiment.title)
    results.print(table)


@app.command()
def run(
    profile: Profile = "quick",
    experiment: Annotated[
        list[str] | None,
        typer.Option(help="Only this one: see `lord study experiments`; may be repeated."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            "-w",
            help="Only cells with this coordinate, as domain=portraits; may be repeated.",
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Measure those that have one, too.")
    ] = False,
) -> None:
    """Measure the cells that have no record.

    **Examples**: all of a profile; a few cells of it.

    ```
    lord study run --profile smoke
    lord study run --profile full --experiment main -w domain=portraits -w seed=1
    ```
    """
    from lord.study.notebooks import parse_parameters
    from lord.study.run import results_root
    from lord.study.run import run as measure

    place = parse_parameters(where or [])
    if options := place.keys() & {"profile", "experiment", "compute", "again", "results"}:
        raise ValueError(f"--where {min(options)}: not a coordinate of cells")
    records = measure(profile, experiment, again=again, **place)
    seconds = sum(record.seconds for record in records)
    folder = results_root() / Path(profile).stem
    typer.echo(f"{len(records)} records are in {folder}; they took {seconds:.0f} s")


@app.command()
def status(profile: Profile = "quick") -> None:
    """Show which records are finished, stale (by older versions) or missing.

    And how many finished ones were computed with local changes, or by code that is gone.
    """
    from lord.study.profile import load_profile
    from lord.study.run import status as states

    table = Table("record", "experiment", "state", "seconds")
    found = list(states(load_profile(profile)))
    for entry in found:
        seconds = f"{entry.record.seconds:.0f}" if entry.record else ""
        state = entry.state
        table.add_row(entry.cell.name, entry.experiment.name, state, seconds, style=STYLES[state])
    results.print(table)
    counts = Counter(entry.state for entry in found)
    records = [entry.record for entry in found if entry.record]
    typer.echo(
        f"Of code that cannot be had again: {sum(r.dirty for r in records)} with local changes, "
        f"{sum(r.lost for r in records)} of commits that are not in the history"
    )
    typer.echo(", ".join(f"{counts[state]} {state}" for state in STYLES))


@app.command()
def tables(profile: Profile = "quick") -> None:
    """Write the CSV tables and the overview from the records, and keep the pictures shown.

    A table that lacks a record is left out.
    """
    from lord.study.profile import load_profile
    from lord.study.tables import write_tables

    written = write_tables(load_profile(profile))
    for path in written or ["Every table lacks a record; none is written."]:
        typer.echo(path)


@app.command(no_args_is_help=True)
def sheet(
    name: Annotated[str, typer.Argument(help="The record's name, see `lord study status`.")],
    profile: Profile = "full",
) -> None:
    """Compute a record again for its picture, when that is not among those that are kept.

    **Example**: samples that no chapter shows.

    ```
    lord study sheet portraits-subject1-seed2-ace-gridpure --profile full
    ```
    """
    from lord.study.profile import load_profile
    from lord.study.run import compute_sheet

    typer.echo(compute_sheet(load_profile(profile), name))


@app.command(no_args_is_help=True)
def rate(
    folder: Annotated[Path, typer.Argument(help="Folder for the page and the key.")],
    answers: Annotated[
        Path | None, typer.Option(help="The CSV file that the page saved: show what agrees.")
    ] = None,
    profile: Profile = "full",
    pairs: Annotated[int, typer.Option(min=1, max=1000, help="Pairs on the page.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Which pairs, and in which order.")] = 0,
) -> None:
    """Make a blind rating sheet, or see which metrics agree with a rater.

    The page shows pairs of conditions of the main table in random order and does not say which is
    which; `key.json` beside it does. It works in any browser, offline.

    **Example**: make a sheet, answer it in the browser, and compare.

    ```
    lord study rate ratings --pairs 30
    lord study rate ratings --answers answers.csv
    ```
    """
    from lord.show.rating import agreement, read_answers, write_sheet
    from lord.study.profile import load_profile
    from lord.study.run import load_records, store_of

    chosen = load_profile(profile)
    records = load_records(chosen)
    if answers is None:
        typer.echo(write_sheet(folder, store_of(chosen), records, pairs, seed))
        return
    given = read_answers(folder, answers)
    found = agreement(records, given)
    table = Table("metric", "pairs", "agrees", "95 % interval")
    for row in found.to_dict("records"):
        interval = f"{row['agrees_low']:.0%} to {row['agrees_high']:.0%}"
        table.add_row(row["metric"], str(row["pairs"]), f"{row['agrees']:.0%}", interval)
    results.print(table)
    typer.echo(f"{len(given)} pairs were answered, {sum(c == 'same' for _, c in given)} as equal")


@app.command(no_args_is_help=True)
def notebook(
    names: Annotated[
        list[str],
        typer.Argument(help="Files without the ending, as 03_metrics.", metavar="NAME..."),
    ],
    profile: Profile = "quick",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="key=value for the notebooks; may be repeated."),
    ] = None,
) -> None:
    """Execute notebooks; their copies with results go to book/_executed.

    **Example**: show the records that are there, compute nothing.

    ```
    lord study notebook 03_metrics --profile full -p compute=false
    ```
    """
    from papermill.exceptions import PapermillExecutionError

    from lord.study.notebooks import execute_notebooks, executed_folder, parse_parameters

    executed: list[Path] = []
    try:
        for path in execute_notebooks(names, profile, parse_parameters(parameter or [])):
            executed.append(path)
            typer.echo(path)
    except PapermillExecutionError as error:
        name = names[len(executed)]
        kept = executed_folder(profile) / f"{name}.failed.ipynb"
        raise ChildProcessError(
            f"{name}: a cell failed: {error.ename}: {error.evalue}; all of it is in {kept}"
        ) from error


@app.command()
def book(
    profile: Profile = "quick",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
) -> None:
    """Build the book from the executed notebooks of a profile."""
    from lord.study.book import build_book

    try:
        page: Path = build_book(profile, strict)
    except subprocess.CalledProcessError as error:
        raise ChildProcessError("the book could not be built; see the messages above") from error
    typer.echo(page)


@app.command()
def pdf() -> None:
    """Print the built book into one PDF, by Chromium or Chrome."""
    from lord.study.printed import print_book

    typer.echo(print_book())
