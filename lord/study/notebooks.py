"""Run the notebooks with checked parameters, and build the book from what they produced."""

import copy
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lord.files import write_text

if TYPE_CHECKING:
    from lord.record import Record

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"
BOOK = REPOSITORY / "book"

CAMPAIGN = "campaign.json"
"""What ``make campaign`` writes into the folder of results."""

# What pages load of MathJax: a script, fonts, and what formulas ask for.
MATHJAX = ("tex-chtml.js", "output/chtml/fonts", "input/tex/extensions")

# The packages whose versions the status page lists.
REPORTED_PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "torchmetrics")


def notebook_names() -> list[str]:
    """Names of the study's notebooks, in reading order.

    Raises:
        FileNotFoundError: the package is installed without the repository that holds them.
    """
    names = sorted(path.stem for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
    if not names:
        raise FileNotFoundError(
            f"{NOTEBOOKS} holds no notebooks: clone the repository and install it with "
            "`pip install --editable .`"
        )
    return names


def shown_in(name: str) -> list[str]:
    """The experiments whose records a notebook reads, in the order in which it does.

    Raises:
        ValueError: one of them is unknown.
    """
    from lord.study.registry import experiments

    text = (NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8")
    found = list(dict.fromkeys(re.findall(r'study\.run\(profile, "(\w+)"', text)))
    if unknown := set(found) - set(experiments()):
        raise ValueError(f"{name}.py: unknown experiment {min(unknown)!r}")
    return found


def executed_folder(profile: str) -> Path:
    """The folder that keeps the executed notebooks of a profile, given by its name or its file."""
    return BOOK / "_executed" / Path(profile).stem


def parse_parameters(assignments: Iterable[str]) -> dict[str, Any]:
    """Parameters from ``key=value`` strings; the values are read as YAML.

    >>> parse_parameters(["compute=false"])
    {'compute': False}

    Raises:
        ValueError: a string is not of that form, or its value no YAML.
    """
    parameters = {}
    for assignment in assignments:
        key, separator, value = assignment.partition("=")
        if not separator or not key:
            raise ValueError(f"parameter {assignment!r} is not of the form key=value")
        try:
            parameters[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ValueError(f"parameter {assignment!r}: the value is not YAML") from error
    return parameters


def execute_notebook(
    name: str, profile: str = "quick", parameters: Mapping[str, Any] | None = None
) -> Path:
    """Execute one notebook and return the path of the executed copy.

    The copy appears only when every cell succeeded; a notebook that failed is kept beside it as
    ``<name>.failed.ipynb``. Run time, device and versions are stored in the copy's metadata under
    ``lord``.

    Args:
        name: stem of the notebook's file, for example ``"03_metrics"``.
        profile: the study's profile, handed to the notebook.
        parameters: further values for names in the notebook's ``parameters`` cell.

    Raises:
        ValueError: unknown notebook or profile, a parameter that its ``parameters`` cell does not
            declare, or a profile among them.
        papermill.exceptions.PapermillExecutionError: a cell failed.
    """
    import papermill

    from lord.study.profile import load_profile
    from lord.study.run import results_root

    if name not in notebook_names():
        raise ValueError(f"unknown notebook {name!r}; there are: {', '.join(notebook_names())}")
    source = NOTEBOOKS / f"{name}.ipynb"
    load_profile(profile)  # a wrong one is found here, and not by the notebook
    if profile.endswith((".yaml", ".yml")):  # the notebook runs in another folder
        profile = str(Path(profile).absolute())
    if "profile" in (parameters or {}):
        raise ValueError(
            "profile: not a parameter here, the folder of the copy depends on it; use --profile"
        )
    parameters = {"profile": profile, **(parameters or {})}
    # Papermill itself only warns of a misspelt parameter and runs with the default.
    declared = papermill.inspect_notebook(str(source))
    unknown = sorted(set(parameters) - set(declared))
    if unknown:
        raise ValueError(
            f"{name} has no parameter {', '.join(unknown)}; it has: {', '.join(declared)}"
        )

    if os.environ.get("LORD_RESULTS"):
        os.environ["LORD_RESULTS"] = str(results_root())
    folder = executed_folder(profile)
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{name}.failed.ipynb"
    papermill.execute_notebook(
        str(source),
        str(unfinished),
        parameters=parameters,
        kernel_name="python3",
        cwd=str(NOTEBOOKS),
        progress_bar=sys.stderr.isatty(),
    )
    notebook = json.loads(unfinished.read_text(encoding="utf-8"))
    run, versions = notebook["metadata"]["papermill"], {"python": platform.python_version()}
    notebook["metadata"]["lord"] = {
        "profile": profile,
        "seconds": run["duration"],
        "executed": re.sub(r"T(\d\d:\d\d).*", r" \1 UTC", run["end_time"]),
        "versions": versions | {package: version(package) for package in REPORTED_PACKAGES},
    }
    for cell in notebook["cells"]:
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["metadata"]["tags"].append("remove-cell")
    unfinished.write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    return unfinished.replace(folder / f"{name}.ipynb")


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
    its caption, and is handed to the figure; pages of the book are one folder closer.

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
        f"{lost} at commits that are no longer in the history; {sum(r.is_stale for r in records)} "
        "are by older versions of a component.\n"
    )
