"""Running the study: measure the cells that are missing, and return the records asked for."""

import ast
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import Any

from lord.names import version_of
from lord.progress import console
from lord.record import Record, make_record
from lord.record import measure as measured
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment
from lord.study.profile import Profile, load_profile
from lord.study.registry import check, experiments
from lord.study.store import Store

REPOSITORY = Path(__file__).resolve().parents[2]

PARAMETERS = ("profile", "compute")
"""What notebooks may be told."""


def results_root() -> Path:
    """Where records lie: ``$LORD_RESULTS``, else ``results/`` of the checkout or of this folder.

    Raises:
        ValueError: that is a file.
    """
    if given := os.environ.get("LORD_RESULTS"):
        if Path(given).is_file():
            raise ValueError(f"LORD_RESULTS: {given} is a file; name a folder")
        return Path(given).absolute()
    return (REPOSITORY if (REPOSITORY / "notebooks").is_dir() else Path.cwd()) / "results"


def store_of(profile: Profile, results: Path | None = None) -> Store:
    """The store of a profile's records."""
    return Store((results or results_root()) / profile.name)


@dataclass(frozen=True)
class Status:
    """A cell and its record: ``finished``, ``stale`` (by older versions) or ``missing``."""

    experiment: Experiment
    cell: Cell
    state: str
    record: Record | None


def run(
    profile: str | Profile,
    experiment: str | Collection[str] | None = None,
    *,
    compute: bool = True,
    again: bool = False,
    results: Path | None = None,
    **where: Any,
) -> list[Record]:
    """The records of a profile, of one or some experiments of it, or of some of its cells.

    What is missing or stale is measured first; without ``compute`` stale records are returned as
    they are. An experiment that the profile leaves out has no records.

    Args:
        again: measure what is finished, too.
        where: coordinates of the cells, such as ``domain="portraits"``.

    Raises:
        ValueError: an unknown experiment, or something else that the profile does not contain;
            ``compute`` or ``again`` is no boolean; a notebook was given a parameter that it does
            not have.
        FileNotFoundError: records are missing and ``compute`` is false.
        OSError: records cannot be written where they should lie.
    """
    for name, value in (("compute", compute), ("again", again)):
        if not isinstance(value, bool):
            raise ValueError(f"{name}: expected True or False, not {value!r}")
    _check_injected()
    given = profile if isinstance(profile, str) else profile.name
    profile = load_profile(given) if isinstance(profile, str) else profile
    store = store_of(profile, results)
    asked = {experiment} if isinstance(experiment, str) else set(experiment or ())
    if unknown := asked - set(experiments()):
        raise ValueError(
            f"unknown experiment {min(unknown)!r}: choose one of {', '.join(experiments())}"
        )
    found = list(status(profile, results, asked or None, **where))
    if where and not found:
        place = ", ".join(f"{name}={value}" for name, value in where.items())
        raise ValueError(f"profile {profile.name} has nothing for {place}")
    accepted = ("finished",) if compute else ("finished", "stale")
    accepted = () if again else accepted
    unfinished = [entry for entry in found if entry.state not in accepted]
    if unfinished and not compute:
        raise FileNotFoundError(
            f"{store.folder}: {len(unfinished)} records are missing, the first is "
            f"{unfinished[0].cell.name}; run: lord study run --profile {quote(given)}"
        )
    if unfinished:
        store.prepare()
        for paper in dict.fromkeys(entry.experiment.paper for entry in unfinished):
            check(paper, profile, store.work)
        for _, entries in groupby(unfinished, key=lambda entry: entry.experiment.name):
            context = Context(store.work)  # an experiment finds nothing that another has left
            for entry in entries:
                console.print(f"{profile.name}: {entry.cell.name}")
                _measure(entry.experiment, entry.cell, profile, context, store)
    return [store.records(entry.experiment.name)[entry.cell.name] for entry in found]


def _check_injected() -> None:
    """Refuse what papermill hands to a notebook and no notebook has; itself, it only warns.

    Raises:
        ValueError: there is a parameter of another name.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    cells = shell.user_ns.get("In", []) if shell else []
    for cell in cells:
        if cell.startswith("# Parameters\n"):  # so begins the cell that papermill adds
            targets = [t for line in ast.parse(cell).body for t in getattr(line, "targets", [])]
            if unknown := sorted({target.id for target in targets} - set(PARAMETERS)):
                raise ValueError(
                    f"no parameter {', '.join(unknown)}; a notebook has: {', '.join(PARAMETERS)}"
                )


def status(
    profile: Profile,
    results: Path | None = None,
    asked: Collection[str] | None = None,
    **where: Any,
) -> Iterator[Status]:
    """The state of every record of a profile, or of the experiments asked, as they are computed."""
    store = store_of(profile, results)
    for part in profile.experiments:
        if asked is None or part.name in asked:
            records = store.records(part.name)
            for cell in profile.cells(part.name):
                if where.items() <= cell.coordinates.items():
                    record, state = records.get(cell.name), "missing"
                    if record is not None and part.matches(cell, record):
                        state = "stale" if record.is_stale else "finished"
                    yield Status(part, cell, state, record)


def load_records(profile: Profile, results: Path | None = None) -> list[Record]:
    """The records that are there, finished or stale, in planned order."""
    return [entry.record for entry in status(profile, results) if entry.state != "missing"]


def compute_sheet(profile: Profile, name: str, results: Path | None = None) -> Path:
    """Measure one cell again for its picture, which is not kept; the record stays as it is.

    Raises:
        ValueError: the profile has no such record, or it has no picture.
        OSError: the picture could not be written.
    """
    for entry in status(profile, results):
        if entry.cell.name == name:
            store = store_of(profile, results)
            store.prepare()
            outcome = entry.experiment.measure(Context(store.work), entry.cell)
            if outcome.sheet is None:
                raise ValueError(f"{name}: this experiment has no picture")
            return store.write_sheet(name, outcome.sheet)
    raise ValueError(f"profile {profile.name} has no record {name!r}; see lord study status")


def _measure(
    experiment: Experiment, cell: Cell, profile: Profile, context: Context, store: Store
) -> None:
    """Measure a cell and write its record."""
    from lord.models.device import best_device

    with measured() as measurement:
        outcome = experiment.measure(context, cell)
    components = (*experiment.components(cell), *cell.measured)
    versions: Mapping[str, int] = {name: version_of(name) for name in components}
    record = make_record(
        name=cell.name,
        kind=experiment.name,
        settings=cell.settings.resolved() | dict(cell.coordinates),
        seed=cell.seed,
        metrics=outcome.metrics,
        series=outcome.series,
        evidence=profile.evidence,
        measurement=measurement,
        components=components,
        key=experiment.key(cell, versions),
        device=best_device(),
    )
    store.write(record, outcome.sheet)
