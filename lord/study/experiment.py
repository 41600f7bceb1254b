"""What the study is made of: experiments, and the cells whose numbers they measure."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt

from lord.record import Record, record_key

if TYPE_CHECKING:
    import pandas as pd

    from lord.study.context import Context
    from lord.study.profile import Profile
    from lord.study.store import Store


class Section(BaseModel):
    """Settings in a profile: of an experiment, what experiments of a paper share, or a part."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$", max_length=60)]
"""What a profile may call a thing of its own; it becomes a part of the names of records."""

MOST = 100_000
"""Pictures of one kind; they are held in memory."""

RECORD_NAME = re.compile(r"[a-z0-9_-][a-z0-9_.,=+-]{0,199}")
"""What a record may be called: no path, nothing that a shell or a page reads."""


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if twice := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{twice[0]} is there twice")
    return values


Indices = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(_distinct)]
"""Numbers of subjects, or seeds; each once."""


@dataclass(frozen=True)
class Outcome:
    """What a cell found: numbers, curves, and a picture (H, W, 3) of bytes if it has one."""

    metrics: dict[str, float]
    series: dict[str, list[float]] = field(default_factory=dict)
    sheet: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Settings:
    """All that a cell depends on beside its coordinates; a name that is not here is an error.

    >>> Settings.of(Section()).also(steps=4).steps
    4

    Attributes:
        values: by name, as a measurement reads them.
        asked: by name, as JSON, without what equals its default.
    """

    values: Mapping[str, Any]
    asked: Mapping[str, Any]

    @classmethod
    def of(cls, section: BaseModel, *names: str) -> "Settings":
        """Some settings of a section."""
        asked = section.model_dump(mode="json", include=set(names), exclude_defaults=True)
        return cls({name: getattr(section, name) for name in names}, asked)

    def also(self, **values: Any) -> "Settings":
        """These settings and others, which replace those of the same name."""
        asked = {name: _plain(value, exclude_defaults=True) for name, value in values.items()}
        return Settings({**self.values, **values}, {**self.asked, **asked})

    def resolved(self) -> dict[str, Any]:
        """All settings as JSON, defaults included."""
        return {name: _plain(value) for name, value in self.values.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self.values:
            raise AttributeError(
                f"{name!r} is not among the settings that the cell declares: "
                f"{', '.join(self.values)}"
            )
        return self.values[name]


def _plain(value: Any, **options: bool) -> Any:
    """A setting as JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", **options)
    if isinstance(value, Mapping):
        return {key: _plain(entry, **options) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry, **options) for entry in value]
    return value


@dataclass(frozen=True)
class Cell:
    """One measurement, which makes one record.

    Raises:
        ValueError: its name could not be that of a file.

    Attributes:
        name: that of the record, unique in the study.
        coordinates: where it lies, such as ``{"domain": "portraits", "seed": 0}``; names are free.
        settings: what it depends on beside them.
        components: what takes part, see `lord.names`.
        measured: what else the record measures at present, such as metrics; a further one leaves
            records as they are.
    """

    name: str
    coordinates: Mapping[str, Any]
    settings: Settings
    components: tuple[str, ...]
    measured: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not RECORD_NAME.fullmatch(self.name):
            raise ValueError(
                f"a record cannot be called {self.name[:60]!r}: names are of a-z, 0-9, _ and -"
            )

    def with_settings(self, section: Section, *names: str) -> "Cell":
        """The cell with some settings of another section as well."""
        further = Settings.of(section, *names)
        values = {**self.settings.values, **further.values}
        return replace(self, settings=Settings(values, {**self.settings.asked, **further.asked}))

    def __getitem__(self, coordinate: str) -> Any:
        return self.coordinates[coordinate]

    @property
    def seed(self) -> int:
        """The coordinate of that name, 0 where there is none."""
        return self.coordinates.get("seed", 0)


@dataclass(frozen=True)
class Table:
    """A CSV file made from records.

    Attributes:
        of: the experiments whose records must be there, all of them.
        make: makes the table of these records, in the order of the experiments named.
        also: experiments whose records follow where they are all there.
    """

    of: tuple[str, ...]
    make: Callable[[Sequence[Record]], "pd.DataFrame"]
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """A PNG file put together from the pictures of records.

    Attributes:
        of: the experiments whose records must be there, all of them.
        make: given the store and all records of the profile, returns it, shape (H, W, 3), bytes.
        records: those whose pictures it needs.
    """

    of: tuple[str, ...]
    make: Callable[["Store", Sequence[Record]], NDArray[np.uint8]]
    records: Callable[[Sequence[Record]], Sequence[Record]]


@dataclass(frozen=True)
class Experiment:
    """One question with its cells; everything else finds it in the registry.

    Attributes:
        name: that of its section in a profile and of its file of records.
        title: what it asks, for people who choose.
        cells: all its cells in a profile, in the order in which they are computed.
        measure: what computes one of them. It imports what it needs when it is called, so that
            plans, the command line and the book load at once.
        section: the model of its section. Where a profile has none it has its defaults; an
            experiment whose section has required fields then takes no part.
        version: of its numbers, see `lord.names`.
        needs: experiments that should come first, as they make what this one uses.
        timed: whether it measures time, and has the machine for itself.
        tables, pictures: files by name, which are written beside the records.
        kept: of all records of a profile those of this experiment whose pictures chapters show.
        example: made-up numbers for a cell, in the shape of true ones, for tests of what is shown.
        paper, file: the folder that it was found in, and the name of its file.
    """

    name: str
    title: str
    cells: Callable[["Profile"], Iterable[Cell]]
    measure: Callable[["Context", Cell], Outcome]
    example: Callable[[Cell], Outcome]
    section: type[Section] = Section
    version: int = 1
    needs: tuple[str, ...] = ()
    timed: bool = False
    tables: Mapping[str, Table] = field(default_factory=dict)
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    kept: Callable[[Sequence[Record]], Sequence[Record]] = lambda _: ()
    paper: str = ""
    file: str = ""

    def components(self, cell: Cell) -> tuple[str, ...]:
        """What takes part in a cell, this experiment included."""
        return (f"experiment:{self.name}", *cell.components)

    def key(self, cell: Cell, versions: Mapping[str, int]) -> str:
        """The key of a cell's record, with these versions of components."""
        asked = {**cell.settings.asked, **cell.coordinates}
        return record_key(self.name, asked, cell.seed, versions)

    def matches(self, cell: Cell, record: Record) -> bool:
        """Whether a record answers what a cell asks, by these components or by older versions."""
        return (
            set(self.components(cell)) <= set(record.components)
            and self.key(cell, record.components) == record.key
        )
