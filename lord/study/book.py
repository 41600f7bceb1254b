"""Build the book from executed notebooks, and take out of it what no page needs."""

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lord.files import write_text
from lord.study.notebooks import BOOK, NOTEBOOKS, REPOSITORY, executed_folder, notebook_names

if TYPE_CHECKING:
    from lord.record import Record

CAMPAIGN = "campaign.json"
"""What ``make campaign`` writes into the folder of results."""

# What pages load of MathJax: a script, fonts, and what formulas ask for.
MATHJAX = ("tex-chtml.js", "output/chtml/fonts", "input/tex/extensions")


def build_book(profile: str, strict: bool = False) -> Path:
    """Build the book from a profile's executed notebooks; return the path of its first page.

    Args:
        profile: whose executed notebooks to show.
        strict: whether warnings are errors.

    Raises:
        FileNotFoundError: a notebook has not been executed at this profile.
        subprocess.CalledProcessError: jupyter-book failed.
    """
    from lord import show
    from lord.show.campaign import reliability
    from lord.study.profile import load_profile
    from lord.study.run import load_records, results_root

    notebooks, generated = {}, BOOK / "_generated"
    for name in notebook_names():
        executed = executed_folder(profile) / f"{name}.ipynb"
        if not executed.exists():
            raise FileNotFoundError(
                f"{executed} is missing: run `lord study notebook {name} --profile {profile}`"
            )
        notebooks[name] = json.loads(executed.read_text(encoding="utf-8"))
        write_text(BOOK / "notebooks" / executed.name, json.dumps(as_page(notebooks[name])))
    records = load_records(load_profile(profile))
    write_text(generated / "status.md", status_tables(notebooks) + provenance(records))
    campaign = results_root() / CAMPAIGN
    if not campaign.exists():
        campaign = REPOSITORY / "results" / CAMPAIGN
    write_text(generated / "reliability.md", reliability(campaign))
    for name, text in show.pages(profile).items():
        write_text(generated / name, text)
    overview = results_root() / Path(profile).stem / "overview.png"
    if not overview.exists():
        overview = REPOSITORY / "results" / "full" / "overview.png"
    shutil.copyfile(overview, generated / "overview.png")
    # The build program of this environment, whatever the search path says.
    program = Path(sys.executable).with_name("jupyter-book")
    command = [str(program), "build", str(BOOK), "--all", "--path-output", str(BOOK)]
    command += ["--config", str(REPOSITORY / "_config.yml"), "--toc", str(REPOSITORY / "_toc.yml")]
    if strict:
        command += ["-W", "-n", "--keep-going"]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    html = BOOK / "_build" / "html"
    slim(html)
    return html / "index.html"


def as_page(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """A notebook as a page of the book.

    Notebooks are plain Markdown, so that they read well anywhere. The quotation below a figure is
    its caption, and is handed to the figure. The call that draws a figure is left out, unless the
    whole cell is folded; pages of the book are one folder closer.

    Raises:
        ValueError: below a figure there is no quotation.
    """
    cells, above = [], None
    for cell in [
        *copy.deepcopy(notebook["cells"]),
        {"cell_type": "", "source": "", "metadata": {}},
    ]:
        source = "".join(cell["source"])
        if above is not None:
            if not source.startswith("> "):
                raise ValueError(f"{above['name']}: the cell below it does not begin with '> '")
            above["caption"] = re.sub("^> ?", "", source, flags=re.MULTILINE).replace("\n", " ")
        else:
            cells.append(cell)
        figure = cell["metadata"].get("mystnb", {}).get("figure", {"caption": ""})
        above = None if "caption" in figure else figure
        if above is not None and "hide-input" in (tags := cell["metadata"].get("tags", [])):
            tags[tags.index("hide-input")] = "remove-input"
        if cell["cell_type"] == "markdown":
            cell["source"] = source.replace("](../book/", "](../")
    return {**notebook, "cells": cells[:-1]}


def slim(html: Path) -> None:
    """Take out of a built book what no page needs, which is most of its size.

    That is: all of MathJax but the script of the pages, its fonts and what it loads on demand, and
    maps for debuggers. Notebooks to download become those of the repository, made to be run.
    """
    mathjax, needed = html / "_static" / "mathjax", set()
    for name in MATHJAX:
        needed |= {mathjax / name, *(mathjax / name).rglob("*")}
    spare = [path for path in mathjax.rglob("*") if path not in needed]
    for path in [*spare, *html.rglob("*.map")]:
        if path.is_file():
            path.unlink()
    for path in (html / "_sources").rglob("*.ipynb"):
        shutil.copyfile(NOTEBOOKS / path.name, path)


def status_tables(notebooks: Mapping[str, Mapping[str, Any]]) -> str:
    """The status page's two tables, as Markdown, from executed notebooks by name."""
    runs = ["| Notebook | Profile | Run time | Executed |", "| --- | --- | --: | --- |"]
    for name, notebook in notebooks.items():
        run = notebook["metadata"]["lord"]
        seconds = round(run["seconds"])
        runs.append(
            f"| [](notebooks/{name}.ipynb) | {run['profile']} | {seconds // 60}:{seconds % 60:02d}"
            f" | {run['executed']} |"
        )
    packages = ["| Package | Version |", "| --- | --- |"]
    versions = {
        (package, number)
        for notebook in notebooks.values()
        for package, number in notebook["metadata"]["lord"]["versions"].items()
    }
    packages += [f"| {package} | {number} |" for package, number in sorted(versions)]
    return "\n".join(
        ["Run times are minutes and seconds.", "", *runs, "", "## Versions", "", *packages, ""]
    )


def provenance(records: Sequence["Record"]) -> str:
    """How many records cite code that cannot be had again, as Markdown."""
    dirty, lost = (sum(getattr(r, name) for r in records) for name in ("dirty", "lost"))
    return (
        f"\n## Records\n\nOf {len(records)} records, {dirty} were computed with local changes and "
        f"{lost} at commits that are no longer in the history. By older versions of a component "
        f"are {sum(r.is_stale for r in records)}.\n"
    )
