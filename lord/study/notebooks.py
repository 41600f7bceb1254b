"""Run the notebooks with checked parameters, and keep what they produced for the book."""

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def execute_notebooks(
    names: Sequence[str], profile: str = "quick", parameters: Mapping[str, Any] | None = None
) -> Iterator[Path]:
    """Execute notebooks one after the other, and yield the paths of the executed copies.

    They share a process and what it has loaded, and nothing else: each begins without names. A copy
    appears only when every cell succeeded; a notebook that failed is kept beside it as
    ``<name>.failed.ipynb``, and is the last. Run time, device and versions are stored in the copy's
    metadata under ``lord``.

    Args:
        names: stems of the notebooks' files, for example ``"03_metrics"``.
        profile: the study's profile, handed to the notebooks.
        parameters: further values for names in the ``parameters`` cells.

    Raises:
        ValueError: unknown notebook or profile, a parameter that a ``parameters`` cell does not
            declare, or a profile among them.
        papermill.exceptions.PapermillExecutionError: a cell failed.
    """
    from jupyter_client import AsyncKernelManager
    from jupyter_core.utils import run_sync

    from lord.study.profile import load_profile
    from lord.study.run import results_root

    if unknown := [name for name in names if name not in notebook_names()]:
        known = ", ".join(notebook_names())
        raise ValueError(f"unknown notebook {unknown[0]!r}; there are: {known}")
    load_profile(profile)  # a wrong one is found here, and not by the notebook
    if profile.endswith((".yaml", ".yml")):  # the notebook runs in another folder
        profile = str(Path(profile).absolute())
    if "profile" in (parameters or {}):
        raise ValueError(
            "profile: not a parameter here, the folder of the copy depends on it; use --profile"
        )
    parameters = {"profile": profile, **(parameters or {})}
    for name in names:
        _check_declared(name, parameters)
        require_writable(executed_folder(profile) / f"{name}.ipynb")
    if os.environ.get("LORD_RESULTS"):
        os.environ["LORD_RESULTS"] = str(results_root())
    kernel = AsyncKernelManager(kernel_name="python3")
    try:
        for name in names:
            if kernel.has_kernel:
                _forget(kernel)
            yield _execute(name, parameters, kernel)
    finally:
        if kernel.has_kernel:
            run_sync(kernel.shutdown_kernel)(now=True)


def _check_declared(name: str, parameters: Mapping[str, Any]) -> None:
    """Raise ValueError for a misspelt parameter, of which papermill only warns."""
    import papermill

    declared = papermill.inspect_notebook(str(NOTEBOOKS / f"{name}.ipynb"))
    if unknown := sorted(set(parameters) - set(declared)):
        raise ValueError(
            f"{name} has no parameter {', '.join(unknown)}; it has: {', '.join(declared)}"
        )


def _forget(kernel: Any) -> None:
    """Leave a running kernel without names, as a new one."""
    client = kernel.blocking_client()
    client.start_channels()
    client.execute_interactive("get_ipython().reset()", silent=True)
    client.stop_channels()


def _execute(name: str, parameters: Mapping[str, Any], kernel: Any) -> Path:
    """Execute a notebook in a kernel, which is started if it is not running."""
    import papermill

    done = executed_folder(parameters["profile"]) / f"{name}.ipynb"
    unfinished = done.with_suffix(".failed.ipynb")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(NOTEBOOKS / f"{name}.ipynb"),
            str(unfinished),
            parameters=dict(parameters),
            kernel_name="python3",
            km=kernel,
            cwd=str(NOTEBOOKS),
            progress_bar=sys.stderr.isatty(),
            request_save_on_cell_execute=False,
        )
    except OSError as error:
        raise OSError(f"{unfinished}: {error.strerror or error}") from error
    notebook = json.loads(unfinished.read_text(encoding="utf-8"))
    run, versions = notebook["metadata"]["papermill"], {"python": platform.python_version()}
    notebook["metadata"]["lord"] = {
        "profile": parameters["profile"],
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
