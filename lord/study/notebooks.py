"""Run the notebooks with checked parameters, and keep what they produced for the book."""

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from lord.files import require_writable, write_text

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = REPOSITORY / "notebooks"
BOOK = REPOSITORY / "book"

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
    done = executed_folder(profile) / f"{name}.ipynb"
    require_writable(done)
    unfinished = done.with_suffix(".failed.ipynb")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(source),
            str(unfinished),
            parameters=parameters,
            kernel_name="python3",
            cwd=str(NOTEBOOKS),
            progress_bar=sys.stderr.isatty(),
        )
    except OSError as error:
        raise OSError(f"{unfinished}: {error.strerror or error}") from error
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
    write_text(done, json.dumps(notebook, indent=1))
    unfinished.unlink()
    return done
