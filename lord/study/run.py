"""Running the study: compute the records that are missing, and return those that were asked for."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lord.files import save_png
from lord.progress import console
from lord.record import Record, code_hash, make_record, measure, read_record, write_record
from lord.study.bench import Bench
from lord.study.plan import STAGES, Job, jobs
from lord.study.profile import Profile, load_profile
from lord.study.tables import is_finished, write_tables
from lord.training.lora import remove_adapters

REPOSITORY = Path(__file__).resolve().parents[2]


def results_root() -> Path:
    """Where records lie: ``$LORD_RESULTS``, else ``results/`` of the checkout or of this folder."""
    if "LORD_RESULTS" in os.environ:
        return Path(os.environ["LORD_RESULTS"]).absolute()
    return (REPOSITORY if (REPOSITORY / "notebooks").is_dir() else Path.cwd()) / "results"


@dataclass(frozen=True)
class Status:
    """The state of one record: ``finished``, ``stale`` (older code) or ``missing``."""

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

    What is missing is computed first, together with what it needs; a finished record is computed
    again only if its settings changed. ``stage2`` compares test-time treatments on stage-1
    identities, ``main`` measures every condition on the evaluation subjects, ``damage`` compares
    attacks and ``steps`` how long they run. A stage that the profile leaves out has no records.

    Raises:
        ValueError: an unknown stage, or something else that the profile does not contain.
        FileNotFoundError: records are missing and ``compute`` is false.
    """
    profile = load_profile(profile) if isinstance(profile, str) else profile
    folder = (results or results_root()) / profile.name
    if stage is not None and stage not in STAGES:
        raise ValueError(f"unknown stage {stage!r}: choose one of {', '.join(STAGES)}")
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
    unfinished = [job for job in wanted if _missing(job, folder)]
    if unfinished and not compute:
        raise FileNotFoundError(
            f"{folder}: {len(unfinished)} jobs have no records, the first is "
            f"{next(iter(unfinished[0].outputs))}; run: lord study run --profile {profile.name}"
        )
    if unfinished:
        bench = Bench(profile, folder / ".work")
        for job in _with_prerequisites(unfinished, planned):
            _compute(job, bench, folder)
    if compute:  # also if nothing was: a run may have been killed before it came to this
        write_tables(profile, folder)
    return [read_record(folder / f"{name}.json") for job in wanted for name in job.outputs]


def missing(profile: Profile, results: Path | None = None) -> list[str]:
    """Names of the records a profile still lacks."""
    folder = (results or results_root()) / profile.name
    return [name for job in jobs(profile) for name in _missing(job, folder)]


def status(profile: Profile, results: Path | None = None) -> list[Status]:
    """The state of every record of a profile, in the order they are computed."""
    folder = (results or results_root()) / profile.name
    states = []
    planned = jobs(profile)
    current = {modules: code_hash(modules) for modules in {job.modules for job in planned}}
    for job in planned:
        absent = _missing(job, folder)
        for name in job.outputs:
            record = None if name in absent else read_record(folder / f"{name}.json")
            fresh = record is not None and record.code_hash == current[job.modules]
            state = "missing" if record is None else "finished" if fresh else "stale"
            states.append(Status(name, job.stage, state, record))
    return states


def _missing(job: Job, folder: Path) -> list[str]:
    """The records of a job that are not there, or belong to other settings."""
    return [name for name in job.outputs if not is_finished(job, name, folder)]


def _with_prerequisites(wanted: list[Job], planned: Iterable[Job]) -> list[Job]:
    """The wanted jobs in order, stage 1 of a domain and defence before the jobs that need it."""
    needs = {("stage1", job.domain, job.defence) for job in wanted}
    return [
        job for job in planned if job in wanted or (job.stage, job.domain, job.defence) in needs
    ]


def _compute(job: Job, bench: Bench, folder: Path) -> None:
    """Compute the records of a job that are missing; each is written as soon as it is known."""
    absent = _missing(job, folder)
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
        record = make_record(
            name=name,
            kind=job.stage,
            settings=job.outputs[name],
            seed=job.seed or 0,
            metrics=outcome.metrics,
            series=outcome.series,
            evidence=bench.profile.evidence,
            measurement=measurement,
            modules=job.modules,
            device=bench.pipeline.device,
        )
        # The picture first: the record says that the experiment is finished.
        if outcome.sheet is not None:
            save_png(outcome.sheet, folder / f"{name}.png")
        write_record(record, folder / f"{name}.json")
