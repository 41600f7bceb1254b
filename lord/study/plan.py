"""What the study consists of: jobs, the records each writes, and the settings they depend on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from lord.data.subjects import Subject
from lord.model.card import weights_checksum
from lord.record import record_key
from lord.study.bench import MAKERS, MEASURING, SELECTION_START, Bench, Outcome
from lord.study.experiments import ace, condition, data, metrics, model, stage1
from lord.study.profile import Profile

STAGES = ("data", "model", "metrics", "ace", "stage1", "stage2", "main")

# The code that the records of each stage depend on; drawing and reporting are left out.
MODULES = {
    "data": ("lord.data", "lord.seeding", data.__name__),
    "model": (*MEASURING, model.__name__),
    "metrics": (*MEASURING, metrics.__name__),
    "ace": (*MAKERS, ace.__name__),
    "stage1": (*MAKERS, stage1.__name__),
    "stage2": (*MAKERS, condition.__name__),
    "main": (*MAKERS, condition.__name__),
}

# The conditions of the main table, as (attack, defence).
CONDITIONS = (("none", "none"), ("ace", "none"), ("ace", "lord"), ("none", "lord"))


@dataclass(frozen=True)
class Job:
    """A piece of work that is done in one go and writes one or several records.

    ``outputs`` maps the name of each record to the settings it depends on, and nothing else, so
    that a changed setting makes exactly those records that it affects unfinished.
    """

    stage: str
    domain: str | None
    subject: int | None
    seed: int | None
    outputs: dict[str, dict[str, Any]]
    compute: Callable[[Bench], Iterable[tuple[str, Outcome]]]

    def key(self, name: str) -> str:
        """The key of one of the records."""
        return record_key(self.stage, self.outputs[name], self.seed or 0)

    @property
    def modules(self) -> tuple[str, ...]:
        """The code that the records depend on."""
        return MODULES[self.stage]


def jobs(profile: Profile) -> list[Job]:
    """All jobs of a profile in an order that respects what they need of each other."""
    planned = [
        _single("data", profile, data.measure_data, ["domains"]),
        _single("model", profile, model.measure_model, ["domains", "held_out", "sampling"]),
    ]
    for domain in profile.domains:
        planned += [
            _single(
                "metrics",
                profile,
                metrics.validate_metrics,
                ["subjects", "held_out", "references"],
                domain,
            ),
            _single(
                "ace",
                profile,
                ace.demonstrate_attack,
                ["subjects", "seeds", "photographs", "attack"],
                domain,
            ),
            _single(
                "stage1",
                profile,
                stage1.run_stage1,
                ["seeds", "photographs", "attack", "stage1", "stage1_data"],
                domain,
            ),
        ]
    for domain in profile.domains:
        planned += [
            _condition(
                profile,
                Subject(domain, "stage1", SELECTION_START + number),
                profile.seeds[0],
                "ace",
                "lord",
                profile.treatments + profile.further_treatments,
            )
            for number in range(profile.selection_subjects)
        ]
    for domain in profile.domains:
        for index in profile.subjects:
            for seed in profile.seeds:
                subject = Subject(domain, "evaluation", index)
                for attack, defence in CONDITIONS:
                    treatments = profile.treatments if defence == "lord" else ("none",)
                    planned.append(_condition(profile, subject, seed, attack, defence, treatments))
    return planned


def _settings(profile: Profile, names: Iterable[str]) -> dict[str, Any]:
    asked = profile.model_dump(mode="json", include={"model", "size", *names})
    return asked | {"weights": weights_checksum(profile.model)}


def _single(
    stage: str,
    profile: Profile,
    experiment: Callable[..., Outcome],
    depends_on: list[str],
    domain: str | None = None,
) -> Job:
    """A job with one record, of the whole study or of one domain."""
    name = f"{domain}-{stage}" if domain else stage
    arguments = {"domain": domain} if domain else {}

    def compute(bench: Bench) -> Iterable[tuple[str, Outcome]]:
        yield name, experiment(bench, **arguments)

    settings = _settings(profile, depends_on) | arguments
    # Where there are several subjects and seeds, these experiments show the first.
    settings |= {key[:-1]: settings.pop(key)[0] for key in ("subjects", "seeds") if key in settings}
    return Job(stage, domain, None, None, {name: settings}, compute)


def _condition(
    profile: Profile,
    subject: Subject,
    seed: int,
    attack: str,
    defence: str,
    treatments: tuple[str, ...],
) -> Job:
    """One subject and seed under one condition; a record for every test-time treatment."""
    evaluation = subject.split == "evaluation"
    depends_on = ["photographs", "references", "finetune", "sampling"]
    depends_on += ["attack"] if attack != "none" else []
    depends_on += ["stage1", "stage1_data"] if defence != "none" else []
    prefix = f"{subject.domain}-{'subject' if evaluation else 'selection'}{subject.index}"
    prefix += f"-seed{seed}-{attack}-{defence}"
    names = {t: prefix if t == "none" else f"{prefix}-{t}" for t in treatments}
    cell = {
        "domain": subject.domain,
        "split": subject.split,
        "subject": subject.index,
        "seed": seed,
        "attack_name": attack,
        "defence": defence,
    }
    shared = _settings(profile, depends_on) | cell
    outputs = {
        name: shared | {"treatment": treatment, "candidate": treatment in profile.treatments}
        for treatment, name in names.items()
    }
    measured = partial(
        condition.measure_condition,
        subject=subject,
        seed=seed,
        attack_name=attack,
        defence=defence,
        treatments=treatments,
    )

    def compute(bench: Bench) -> Iterable[tuple[str, Outcome]]:
        for treatment, outcome in measured(bench):
            yield names[treatment], outcome

    stage = "main" if evaluation else "stage2"
    number = subject.index if evaluation else None
    return Job(stage, subject.domain, number, seed if evaluation else None, outputs, compute)
