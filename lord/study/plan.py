"""What the study consists of: jobs, the records each writes, and the settings they depend on."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from lord.attacks.settings import AttackSettings
from lord.data.subjects import Subject
from lord.models.card import weights_checksum
from lord.purifiers import PURIFIERS
from lord.record import record_key
from lord.study import mixed
from lord.study.bench import ATTACKING, DEFENDING, FINE_TUNING, MEASURING, RENDERING, Bench, Outcome
from lord.study.defences import SELECTION_START
from lord.study.experiments import (
    ace,
    audit,
    condition,
    cost,
    data,
    known_diffpure,
    masking,
    masking_diffpure,
    metrics,
    model,
    performance,
    rank_cost,
    sampled_gates,
    scenario,
    stage1,
)
from lord.study.profile import ABLATIONS, OURS, TRAINED, Ablation, Profile, Scenario

STAGES = (
    "data",
    "model",
    "metrics",
    "ace",
    "performance",
    "cost",
    "stage1",
    "stage2",
    "audit",
    "main",
    "damage",
    "steps",
    *ABLATIONS,
    "masking",
    "masking_diffpure",
    "rank_cost",
    "sampled_gates",
)

# What a purifier adds to the code that a cell without defence depends on.
PURIFYING = ("lord.purification", "lord.study.purified")

# What a stage 1 on several attacks adds to the code of one on one.
MIXING = (mixed.__name__,)

# The code that the records of an overview depend on; drawing and reporting are left out.
MODULES = {
    "data": (*RENDERING, data.__name__),
    "model": (*MEASURING, model.__name__),
    "metrics": (*MEASURING, metrics.__name__),
    "ace": (*MEASURING, *ATTACKING, ace.__name__),
    "stage1": (*MEASURING, *DEFENDING, stage1.__name__),
    "audit": (*DEFENDING, "lord.defences.audit", "lord.purification", audit.__name__),
    "masking": (*DEFENDING, scenario.__name__, masking.__name__),
    "masking_diffpure": (
        *ATTACKING,
        *PURIFYING,
        "lord.attacks.through_purifier",
        known_diffpure.__name__,
        masking.__name__,
        masking_diffpure.__name__,
    ),
    "sampled_gates": (*DEFENDING, "lord.models.sample", sampled_gates.__name__),
    "rank_cost": (*DEFENDING, cost.__name__, rank_cost.__name__),
    "cost": (*DEFENDING, "lord.purification", "lord.models.sample", cost.__name__),
    "performance": (*ATTACKING, "lord.study.bench", performance.__name__),
}

# Rounds among which the gradient steps of ACE are shared if it has a surrogate.
ROUNDS = 5


@dataclass(frozen=True)
class Job:
    """A piece of work that is done in one go and writes one or several records.

    Attributes:
        domain, subject, seed, attack, defence: what it is about; None where it is about several or
            none.
        outputs: for the name of each record the settings it depends on, and nothing else, so that
            a changed setting makes exactly those records that it affects unfinished.
        modules: the code the records depend on.
        compute: given the names of the records that are wanted, yields name and outcome of each.
            Records that share a LoRA share its fine-tune if they are computed together; those that
            are added later repeat it.
    """

    stage: str
    domain: str | None
    subject: int | None
    seed: int | None
    attack: str | None
    defence: str | None
    outputs: dict[str, dict[str, Any]]
    modules: tuple[str, ...]
    compute: Callable[[Bench, Collection[str]], Iterable[tuple[str, Outcome]]]

    def key(self, name: str) -> str:
        """The key of one of the records."""
        return record_key(self.stage, self.outputs[name], self.seed or 0)


def jobs(profile: Profile) -> list[Job]:
    """All jobs of a profile in an order that respects what they need of each other."""
    return [
        *_overviews(profile),
        *_selection(profile),
        *_main(profile),
        *_comparison(profile),
        *_ablations(profile),
    ]


def _overviews(profile: Profile) -> Iterator[Job]:
    """One record each, of the whole study or of one domain."""
    judged = ["held_out", "sampling"]
    attacked = ["subjects", "seeds", "photographs", "budget"]
    defended = ["seeds", "photographs", "budget"]
    validated = ["subjects", "held_out", "references"]
    known = ["subjects", "seeds", "photographs", "budget", *TRAINED[OURS]]
    asked = ["subjects", "seeds", "photographs", "budget", "finetune", "sampling", *TRAINED["lord"]]
    yield _single("data", profile, data.measure_data, ["domains"])
    yield _single("model", profile, model.measure_model, ["domains", *judged])
    yield _single("performance", profile, performance.measure_performance, ["subjects", "budget"])
    used = ["subjects", "photographs", "finetune", "stage1"]
    purifiers = {"purifiers": list(filter(PURIFIERS.get, profile.faced))}
    yield _single(
        "cost", profile, cost.measure_cost, [*used, "wide", "adversarial"], further=purifiers
    )
    if "rank" in profile.ablations:
        ranks = {"variants": profile.ablations["rank"].variants}
        yield _single("rank_cost", profile, rank_cost.measure_rank_cost, used, further=ranks)
    for domain in profile.domains:
        yield _single("metrics", profile, metrics.validate_metrics, validated, domain)
        yield _single("ace", profile, ace.demonstrate_attack, attacked, domain)
        for defence in filter(TRAINED.get, profile.faced):
            own = [*defended, *TRAINED[defence]]
            yield _single("stage1", profile, stage1.run_stage1, own, domain, defence)
        audited = [*defended, "comparison", "selection_subjects", *TRAINED[OURS]]
        yield _single("audit", profile, audit.audit_images, audited, domain, OURS)
        if "adaptive" in profile.ablations:
            yield _single("masking", profile, masking.measure_masking, known, domain)
        if through := masking_diffpure.attacks_through(profile):
            experiment = masking_diffpure.measure_masking_diffpure
            photographs = masking_diffpure.photographs(profile)
            further = {"attacks": through, "photographs": photographs}
            yield _single("masking_diffpure", profile, experiment, attacked, domain, None, further)
        if "lambda" in profile.ablations:
            experiment = sampled_gates.measure_sampled_gates
            yield _single("sampled_gates", profile, experiment, asked, domain)


def _main(profile: Profile) -> Iterator[Job]:
    """Every condition of the main table on the evaluation subjects."""
    for domain, index, seed in product(profile.domains, profile.subjects, profile.seeds):
        subject = Subject(domain, "evaluation", index)
        for method, defence in profile.pairs:
            attack = None if method == "none" else profile.attack_of(method)
            treatments = profile.treatments_of(defence)
            if method == "ace" and defence == OURS:
                treatments += profile.further_treatments
            yield _condition("main", profile, subject, seed, attack, defence, treatments)


def _selection(profile: Profile) -> Iterator[Job]:
    """Every test-time treatment on identities that are not evaluated, to choose by."""
    attack, seed = profile.attack_of("ace"), profile.seeds[0]
    for domain, number in product(profile.domains, range(profile.selection_subjects)):
        subject = Subject(domain, "stage1", SELECTION_START + number)
        for defence in filter(TRAINED.get, profile.faced):
            treatments = profile.treatments_of(defence)
            yield _condition("stage2", profile, subject, seed, attack, defence, treatments)


def _comparison(profile: Profile) -> Iterator[Job]:
    """Attacks at equal budgets, and ACE at several numbers of steps, all without a defence.

    What the main table has is not planned again.
    """
    compared, budget = profile.comparison, profile.budget
    planned = {name for job in _main(profile) for name in job.outputs}
    cells = []
    for domain, index, seed in product(profile.domains, compared.subjects, compared.seeds):
        subject = Subject(domain, "evaluation", index)
        for method, levels in product(compared.attacks, compared.eps_levels):
            label = "" if levels == budget.eps_levels else f"-eps{levels:g}"
            cells.append(("damage", subject, seed, profile.attack_of(method, levels), label))
        for steps, rounds in product((*compared.steps, budget.steps), (1, ROUNDS)):
            if compared.steps and steps % rounds == 0:
                label = "" if steps == budget.steps else f"-steps{steps}"
                label += f"-rounds{rounds}" if rounds > 1 else ""
                attack = profile.attack_of("ace", steps=steps, rounds=rounds)
                cells.append(("steps", subject, seed, attack, label))
    for stage, subject, seed, attack, label in cells:
        job = _condition(stage, profile, subject, seed, attack, "none", ("none",), label)
        if planned.isdisjoint(job.outputs):
            planned |= job.outputs.keys()
            yield job


def _ablations(profile: Profile) -> Iterator[Job]:
    """The cells of every variant whose settings it changes."""
    for stage, ablation in profile.ablations.items():
        conditions = [(a, d) for a, names in ablation.conditions.items() for d in names]
        start = SELECTION_START if ablation.split == "stage1" else 0
        for variant, changes in ablation.variants.items():
            varied = profile.varied(changes)
            cells = product(profile.domains, ablation.subjects, ablation.seeds, conditions)
            for domain, index, seed, (method, defence) in cells:
                if method != "none" and not varied.can_know(varied.scenario.attacker, defence):
                    continue
                subject = Subject(domain, ablation.split, start + index)
                changed, same = (
                    _variant(stage, p, subject, seed, method, defence, variant, ablation)
                    for p in (varied, profile)
                )
                if changed.outputs != same.outputs:
                    yield changed


def _variant(
    stage: str,
    profile: Profile,
    subject: Subject,
    seed: int,
    method: str,
    defence: str,
    variant: str,
    ablation: Ablation,
) -> Job:
    rounds = profile.scenario.surrogate_rounds
    own = profile.scenario.model_dump()
    if defence not in TRAINED:  # stage 1 is nothing to those who have none
        own |= {"stage1_domain": "own", "stage2_gate": "learned"}
    if method == "none":  # and an attacker, to those whom nobody attacks
        own |= {"attacked_share": 1.0, "attacker": "base", "surrogate_rounds": 1}
    profile = profile.model_copy(update={"scenario": Scenario(**own)})
    attack = None if method == "none" else profile.attack_of(method, rounds=rounds)
    treatments = profile.treatments_of(defence)
    if profile.is_lord(defence):
        treatments = ablation.treatments
    elif defence in TRAINED:
        treatments = tuple(t for t in treatments if t in ablation.treatments)
    return _condition(stage, profile, subject, seed, attack, defence, treatments, variant=variant)


def _settings(profile: Profile, names: Iterable[str]) -> dict[str, Any]:
    asked = profile.model_dump(mode="json", include={"model", "size", *names})
    return asked | {"weights": weights_checksum(profile.model)}


def _single(
    stage: str,
    profile: Profile,
    experiment: Callable[..., Outcome],
    depends_on: list[str],
    domain: str | None = None,
    defence: str | None = None,
    further: Mapping[str, Any] | None = None,
) -> Job:
    """A job with one record, of the whole study, of one domain, or of one defence in it.

    Args:
        depends_on: settings of the profile.
        further: what else it depends on, by name.
    """
    name = "-".join(filter(None, (domain, stage, defence)))
    arguments = {"domain": domain, "defence": defence}
    arguments = {key: value for key, value in arguments.items() if value}
    modules = (*MODULES[stage], *(MIXING if profile.is_mixed(defence) else ()))

    def compute(bench: Bench, _: Collection[str]) -> Iterable[tuple[str, Outcome]]:
        yield name, experiment(mixed.mix(bench, domain, defence), **arguments)

    settings = _settings(profile, depends_on) | arguments | dict(further or {})
    # Where there are several subjects and seeds, these experiments show the first.
    settings |= {key[:-1]: settings.pop(key)[0] for key in ("subjects", "seeds") if key in settings}
    return Job(stage, domain, None, None, None, defence, {name: settings}, modules, compute)


def _condition(
    stage: str,
    profile: Profile,
    subject: Subject,
    seed: int,
    attack: AttackSettings | None,
    defence: str,
    treatments: tuple[str, ...],
    label: str = "",
    variant: str | None = None,
) -> Job:
    """One subject and seed under one condition; a record for every test-time treatment.

    Args:
        label: tells attacks of one method apart.
        variant: the name of the change that made the profile, of an ablation.
    """
    evaluated = subject.split == "evaluation"
    method = attack.method if attack else "none"
    depends_on = ["photographs", "references", "finetune", "sampling"]
    modules = (*MEASURING, *FINE_TUNING, "lord.study.photographs", condition.__name__)
    experiment = condition.measure_condition
    cell = {
        "domain": subject.domain,
        "split": subject.split,
        "subject": subject.index,
        "seed": seed,
        "attack_name": method,
        "defence": defence,
    }
    if attack:
        modules += ATTACKING
        cell["attack"] = attack.model_dump(mode="json")
    if variant:
        modules += (scenario.__name__,)
        experiment = scenario.measure_scenario
        depends_on += ["scenario"] if attack else []
        cell["variant"] = variant
        label += f"-{stage}_{variant}"
        attacker = profile.scenario.attacker
        if attacker == "through_diffpure":
            modules += ("lord.attacks.through_purifier", known_diffpure.__name__)
            experiment = known_diffpure.measure_known_diffpure
        elif attacker != "base":
            modules += (*DEFENDING, "lord.attacks.through_gate")
            depends_on += TRAINED[defence]
    if defence in TRAINED:
        modules += DEFENDING
        depends_on += [*TRAINED[defence], "scenario"]
        modules += MIXING if profile.is_mixed(defence) else ()
    elif defence != "none":
        modules += PURIFYING
    settings = _settings(profile, depends_on) | cell
    place = f"{subject.domain}-{'subject' if evaluated else 'selection'}{subject.index}-seed{seed}"
    prefix = f"{place}-{method}{label}-{defence}"
    names = {t: prefix if t == "none" else f"{prefix}-{t}" for t in treatments}
    candidates = set(profile.treatments_of(defence)) - {"none"}
    outputs = {
        name: settings | {"treatment": treatment, "candidate": treatment in candidates}
        for treatment, name in names.items()
    }

    def compute(bench: Bench, absent: Collection[str]) -> Iterable[tuple[str, Outcome]]:
        own = mixed.mix(replace(bench, profile=profile), subject.domain, defence)
        asked = tuple(treatment for treatment, name in names.items() if name in absent)
        for treatment, outcome in experiment(own, subject, seed, attack, defence, asked):
            yield names[treatment], outcome

    return Job(
        stage,
        subject.domain,
        subject.index if evaluated else None,
        seed if evaluated else None,
        method,
        defence,
        outputs,
        tuple(sorted(set(modules))),
        compute,
    )
