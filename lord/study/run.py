"""Running the study: compute the records that are missing, and return those that were asked for."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lord.names import EXPERIMENTS, version_of
from lord.progress import console
from lord.record import Record, make_record, measure
from lord.study.bench import Bench
from lord.study.plan import Job, jobs
from lord.study.profile import Profile, load_profile
from lord.study.store import Store
from lord.training.lora import remove_adapters

REPOSITORY = Path(__file__).resolve().parents[2]


def results_root() -> Path:
    """Where records lie: ``$LORD_RESULTS``, else ``results/`` of the checkout or of this folder."""
    if "LORD_RESULTS" in os.environ:
        return Path(os.environ["LORD_RESULTS"]).absolute()
    return (REPOSITORY if (REPOSITORY / "notebooks").is_dir() else Path.cwd()) / "results"


def store_of(profile: Profile, results: Path | None = None) -> Store:
    """The store of a profile's records."""
    return Store((results or results_root()) / profile.name)


@dataclass(frozen=True)
class Status:
    """The state of one record: ``finished``, ``stale`` (by older versions) or ``missing``."""

    name: str
    stage: str
    state: str
    record: Record | None


def run(
    profile: str | Profile,
    stage: str | None = None,
    *,
    domain: str | None = None,
    subject: int | None = None,
    seed: int | None = None,
    attack: str | None = None,
    defence: str | None = None,
    compute: bool = True,
    results: Path | None = None,
) -> list[Record]:
    """The records of a profile, or of one stage, domain, subject, seed, attack or defence of it.

    What is missing or stale is computed first, together with what it needs; without ``compute``
    stale records are returned as they are. ``stage2`` compares test-time treatments on stage-1
    identities, ``main`` measures every condition on the evaluation subjects, ``damage`` compares
    attacks and ``steps`` how long they run. A stage that the profile leaves out has no records.

    Raises:
        ValueError: an unknown stage, or something else that the profile does not contain.
        FileNotFoundError: records are missing and ``compute`` is false.
    """
    profile = load_profile(profile) if isinstance(profile, str) else profile
    store = store_of(profile, results)
    if stage is not None and stage not in EXPERIMENTS:
        raise ValueError(f"unknown stage {stage!r}: choose one of {', '.join(EXPERIMENTS)}")
    planned = jobs(profile)
    asked = {"stage": stage, "domain": domain, "subject": subject, "seed": seed}
    asked |= {"attack": attack, "defence": defence}
    asked = {name: value for name, value in asked.items() if value is not None}
    wanted = [job for job in planned if asked.items() <= vars(job).items()]
    if not wanted:
        if stage and all(job.stage != stage for job in planned):
            return []
        raise ValueError(
            f"profile {profile.name} has nothing for "
            + ", ".join(f"{name}={value}" for name, value in asked.items())
        )
    accepted = ("finished",) if compute else ("finished", "stale")
    unfinished = [job for job in wanted if _lacking(job, store, accepted)]
    if unfinished and not compute:
        raise FileNotFoundError(
            f"{store.folder}: {len(unfinished)} jobs have no records, the first is "
            f"{next(iter(unfinished[0].outputs))}; run: lord study run --profile {profile.name}"
        )
    if unfinished:
        bench = Bench(profile, store.work)
        for job in _with_prerequisites(unfinished, planned):
            _compute(job, bench, store)
    records = {job.stage: store.records(job.stage) for job in wanted}
    return [records[job.stage][name] for job in wanted for name in job.outputs]


def compute_sheet(profile: Profile, name: str, results: Path | None = None) -> Path:
    """Compute one record again for its picture, which is not kept; the record stays as it is.

    Raises:
        ValueError: the profile has no such record.
    """
    for job in jobs(profile):
        if name in job.outputs:
            store = store_of(profile, results)
            bench = Bench(profile, store.work)
            remove_adapters(bench.pipeline)
            for produced, outcome in job.compute(bench, [name]):
                if produced == name and outcome.sheet is not None:
                    return store.write_sheet(name, pixels(outcome.sheet))
            raise ValueError(f"{name}: this experiment has no picture")
    raise ValueError(f"profile {profile.name} has no record {name!r}; see lord study status")


def missing(profile: Profile, results: Path | None = None) -> list[str]:
    """Names of the records a profile still lacks, or has of other settings."""
    return [entry.name for entry in status(profile, results) if entry.state == "missing"]


def status(profile: Profile, results: Path | None = None) -> list[Status]:
    """The state of every record of a profile, in the order they are computed."""
    store = store_of(profile, results)
    states = []
    for job in jobs(profile):
        records = store.records(job.stage)
        for name in job.outputs:
            states.append(Status(name, job.stage, state_of(job, name, records), records.get(name)))
    return states


def state_of(job: Job, name: str, records: Mapping[str, Record]) -> str:
    """The state of one record of a job among those of its experiment, see `Status`."""
    record = records.get(name)
    if record is None or not job.matches(record):
        return "missing"
    return "stale" if record.is_stale else "finished"


def _lacking(job: Job, store: Store, accepted: Iterable[str]) -> list[str]:
    """The records of a job in another state than those accepted."""
    records = store.records(job.stage)
    return [name for name in job.outputs if state_of(job, name, records) not in accepted]


def load_records(profile: Profile, results: Path | None = None) -> list[Record]:
    """The records that are there, finished or stale, in planned order."""
    return [entry.record for entry in status(profile, results) if entry.state != "missing"]


def _with_prerequisites(wanted: list[Job], planned: Iterable[Job]) -> list[Job]:
    """The wanted jobs in order, stage 1 of a domain and defence before the jobs that need it."""
    needs = {("stage1", job.domain, job.defence) for job in wanted}
    return [
        job for job in planned if job in wanted or (job.stage, job.domain, job.defence) in needs
    ]


def _compute(job: Job, bench: Bench, store: Store) -> None:
    """Compute the records of a job that are missing; each is written as soon as it is known."""
    absent = _lacking(job, store, ("finished",))
    if not absent:
        return
    console.print(f"{bench.profile.name}: {', '.join(absent)}")
    remove_adapters(bench.pipeline)  # every job starts from the base model
    outcomes = iter(job.compute(bench, absent))
    while True:
        with measure() as measurement:
            produced = next(outcomes, None)
        if produced is None:
            return
        name, outcome = produced
        components = [*job.components, *job.measured]
        versions = {component: version_of(component) for component in components}
        record = make_record(
            name=name,
            kind=job.stage,
            settings=job.outputs[name],
            seed=job.seed or 0,
            metrics=outcome.metrics,
            series=outcome.series,
            evidence=bench.profile.evidence,
            measurement=measurement,
            components=components,
            key=job.key(name, versions),
            device=bench.pipeline.device,
        )
        store.write(record, None if outcome.sheet is None else pixels(outcome.sheet))


def pixels(sheet: Tensor) -> NDArray[np.uint8]:
    """A picture (3, H, W) in [0, 1] as bytes (H, W, 3)."""
    levels = (sheet.detach().cpu().clamp(0, 1) * 255).round()
    return levels.permute(1, 2, 0).to(torch.uint8).numpy()
