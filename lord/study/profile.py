"""A profile is one small validated file that settles everything about a run of the study.

It has a section for each experiment, and one for each paper with what its experiments share. A
section that is not there has its defaults; ``null`` leaves an experiment out. The profile is called
as its file is.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from lord.errors import described
from lord.settings_file import read_settings, settings_of
from lord.study.experiment import Cell, Experiment, Name, Section
from lord.study.registry import experiments, sections

PROFILES = Path(__file__).with_name("profiles")

LARGEST_NUMBER = 1e9
"""Settings are smaller; a larger one is a slip of the finger, which would run for ever."""


class Profile(BaseModel):
    """The resolved settings of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name
    evidence: bool = Field(description="False marks numbers that are no evidence of anything")
    split: tuple[str, ...] = Field(
        ("experiment", "domain", "subject", "seed"),
        description="cells that differ in one of these coordinates are processes of their own",
    )
    sections: Mapping[str, Section] = Field(description="by the names of papers and experiments")
    _cells: dict[str, list[Cell]] = PrivateAttr(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        if name not in self.sections:
            raise ValueError(f"the section {name} is missing, which other experiments need")
        return self.sections[name]

    def __contains__(self, name: str) -> bool:
        return name in self.sections

    def cells(self, name: str) -> list[Cell]:
        """The cells of an experiment, in the order in which they are computed."""
        if name not in self._cells:
            self._cells[name] = list(experiments()[name].cells(self))
        return self._cells[name]

    @property
    def experiments(self) -> list[Experiment]:
        """Those that take part, each after those it needs."""
        return [experiment for name, experiment in experiments().items() if name in self]


def profile_names() -> list[str]:
    """The profiles that come with the package."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """A profile by name, or from the path of a YAML file of one's own.

    Raises:
        ValueError: no such profile, a file that is called like one of the package, or a key or
            value in it that is wrong; the message names it.
    """
    own = isinstance(name, str) and name.endswith((".yaml", ".yml"))
    path = Path(name) if own else PROFILES / f"{name}.yaml"
    if (not own and name not in profile_names()) or not path.is_file():
        raise ValueError(
            f"unknown profile {name!r}: choose one of {', '.join(profile_names())}, "
            "or give the path of a YAML file"
        )
    path = path.resolve()
    if path.stem in profile_names() and path.parent != PROFILES.resolve():
        raise ValueError(
            f"{path}: {path.stem} is a profile of the package, whose records would be replaced; "
            "rename the file"
        )
    return _load(path, path.stat().st_mtime_ns)


@lru_cache
def _load(path: Path, changed: int) -> Profile:
    """The profile in a file, read again once that has changed."""
    values = read_settings(path)
    try:
        if "name" in values:
            raise ValueError("name: a profile is called as its file is; leave it out")
        return read_profile(values | {"name": path.stem})
    except ValueError as error:
        raise ValueError(f"{path}: {described(error)}") from error


def read_profile(values: Mapping[str, Any]) -> Profile:
    """A profile from what its file says, and its name.

    Raises:
        ValueError: a key or value is wrong, or sections do not fit each other; the message names
            it.
    """
    _check_numbers(values)
    known = sections()
    found: dict[str, Section] = {}
    for name, model in known.items():
        given = values.get(name, {})
        paper = experiments()[name].paper if name in experiments() else name
        shared = name != paper and paper in known and paper not in found
        asks = any(field.is_required() for field in model.model_fields.values())
        if given is None or (name not in values and (shared or asks)):
            continue
        found[name] = settings_of(model, given, name)
    own = {key: value for key, value in values.items() if key not in known}
    if "sections" in own:
        raise ValueError("sections: each is there by its own name")
    try:
        profile = Profile.model_validate(own | {"sections": {}})
    except ValidationError as error:
        raise ValueError(described(error)) from error
    profile = profile.model_copy(update={"sections": found})
    # A section that does not fit another, or that says one thing twice, is noticed here.
    cells = [cell for e in profile.experiments for cell in profile.cells(e.name)]
    names = Counter(cell.name for cell in cells)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"two records would be called {twice[0]}: something is there twice")
    places = {"experiment", *(name for cell in cells for name in cell.coordinates)}
    if cells and (unknown := set(values.get("split", ())) - places):
        raise ValueError(f"split: no cell has a coordinate {min(unknown)!r}")
    return profile


def _check_numbers(values: Any, place: str = "") -> None:
    """Raise ValueError for a number, at any depth, that is none or larger than any setting."""
    if isinstance(values, list | tuple):
        values = dict(enumerate(values))
    if isinstance(values, Mapping):
        for name, value in values.items():
            _check_numbers(value, f"{place}.{name}".removeprefix("."))
    elif isinstance(values, int | float) and not abs(values) < LARGEST_NUMBER:  # so is no nan
        raise ValueError(f"{place}: expected a number below {LARGEST_NUMBER:g}, not {values}")
