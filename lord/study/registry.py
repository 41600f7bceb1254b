"""Finds the experiments: one file each in ``lord/experiments/<paper>/``, named ``EXPERIMENT``.

Beside them a paper may have ``protocol.py`` with a `Section` named ``Protocol``: the settings that
its experiments share, in the section of a profile that is called like the paper's folder. And
``checks.py`` with a function ``check``, which is given the profile before anything is measured and
raises an error for what would fail later.
"""

from dataclasses import replace
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from lord import experiments as home
from lord.study.experiment import Experiment, Section

if TYPE_CHECKING:
    from lord.study.profile import Profile


def papers() -> list[str]:
    """The names of the papers, which are those of their folders."""
    return [module.name for module in iter_modules(home.__path__) if module.ispkg]


@cache
def experiments() -> dict[str, Experiment]:
    """All experiments by name, each after those it needs.

    Raises:
        ValueError: two have one name, or one needs another that is not there.
    """
    found: dict[str, Experiment] = {}
    for paper in papers():
        for name in _modules(paper):
            module = import_module(f"{home.__name__}.{paper}.{name}")
            experiment = getattr(module, "EXPERIMENT", None)
            if experiment is None:
                continue
            if experiment.name in found or experiment.name in papers():
                raise ValueError(f"{module.__name__}: the name {experiment.name!r} is taken")
            found[experiment.name] = replace(experiment, paper=paper, file=f"{name}.py")
    graph = TopologicalSorter({name: found[name].needs for name in sorted(found)})
    order = list(graph.static_order())
    if unknown := set(order) - set(found):
        raise ValueError(f"experiment {min(unknown)!r} is needed, but is not there")
    return {name: found[name] for name in order}


@cache
def sections() -> dict[str, type[Section]]:
    """The models of all sections of a profile, those of papers first."""
    shared = {
        paper: import_module(f"{home.__name__}.{paper}.protocol").Protocol
        for paper in papers()
        if "protocol" in _modules(paper)
    }
    return shared | {name: e.section for name, e in experiments().items()}


def check(paper: str, profile: "Profile", work: Path) -> None:
    """Let a paper look at what its experiments need.

    Args:
        work: a folder for what it has found out.

    Raises:
        OSError, ValueError: something is missing or wrong.
    """
    if paper in papers() and "checks" in _modules(paper):
        import_module(f"{home.__name__}.{paper}.checks").check(profile, work)


def _modules(paper: str) -> list[str]:
    """The files of a paper; its folders hold what they compute."""
    package = import_module(f"{home.__name__}.{paper}")
    return [module.name for module in iter_modules(package.__path__) if not module.ispkg]
