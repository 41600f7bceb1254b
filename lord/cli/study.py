"""`lord study`: the experiments behind the book, and the book."""

import subprocess
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lord.cli.options import Domain
from lord.names import EXPERIMENTS

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

    table = Table("profile", "model", "domains", "subjects", "seeds", "evidence")
    for name in profile_names():
        profile = load_profile(name)
        table.add_row(
            name,
            profile.model,
            ", ".join(profile.domains),
            str(len(profile.subjects)),
            str(len(profile.seeds)),
            "yes" if profile.evidence else "no",
        )
    Console().print(table)


@app.command()
def run(
    profile: Profile = "quick",
    stage: Annotated[
        str | None, typer.Option(help=f"Only this experiment: {', '.join(EXPERIMENTS)}.")
    ] = None,
    domain: Annotated[Domain | None, typer.Option(help="Only this domain.")] = None,
    subject: Annotated[int | None, typer.Option(help="Only this evaluation subject.")] = None,
    seed: Annotated[int | None, typer.Option(help="Only this seed.")] = None,
    attack: Annotated[
        str | None, typer.Option(help="Only cells under this attack, or none.")
    ] = None,
    defence: Annotated[
        str | None, typer.Option(help="Only cells with this defence, or none.")
    ] = None,
) -> None:
    """Compute the records that are missing, and whatever they need.

    **Examples**: all of a profile; one cell of it.

    ```
    lord study run --profile smoke
    lord study run --profile full --domain portraits --subject 0 --seed 1
    ```
    """
    from lord.study.run import results_root
    from lord.study.run import run as compute

    records = compute(
        profile,
        stage,
        domain=domain,
        subject=subject,
        seed=seed,
        attack=attack,
        defence=defence,
    )
    if not records:
        typer.echo(f"profile {profile} leaves the stage {stage} out")
        return
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

    table = Table("record", "stage", "state", "seconds")
    found = states(load_profile(profile))
    for entry in found:
        seconds = f"{entry.record.seconds:.0f}" if entry.record else ""
        table.add_row(entry.name, entry.stage, entry.state, seconds, style=STYLES[entry.state])
    Console().print(table)
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
    from lord.study.run import load_records, store_of
    from lord.study.tables import shown_sheets, write_tables

    settings = load_profile(profile)
    store, records = store_of(settings), load_records(settings)
    for path in write_tables(settings, store, records):
        typer.echo(path)
    shown = shown_sheets(settings, records)
    for experiment in dict.fromkeys(record.kind for record in shown):
        store.pack(experiment, [record for record in shown if record.kind == experiment])


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
def notebook(
    name: Annotated[str, typer.Argument(help="Its file without the ending, as 03_metrics.")],
    profile: Profile = "quick",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="key=value for the notebook; may be repeated."),
    ] = None,
) -> None:
    """Execute one notebook; its copy with results goes to book/_executed.

    **Example**: show the records that are there, compute nothing.

    ```
    lord study notebook 03_metrics --profile full -p compute=false
    ```
    """
    from lord.study.notebooks import execute_notebook, parse_parameters

    typer.echo(execute_notebook(name, profile, parse_parameters(parameter or [])))


@app.command()
def book(
    profile: Profile = "quick",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
) -> None:
    """Build the book from the executed notebooks of a profile."""
    from lord.study.notebooks import build_book

    try:
        page: Path = build_book(profile, strict)
    except subprocess.CalledProcessError as error:
        raise ChildProcessError("the book could not be built; see the messages above") from error
    typer.echo(page)
