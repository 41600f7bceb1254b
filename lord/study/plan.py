"""What the study consists of: jobs, the records each writes, and the settings they depend on."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from lord.attacks.settings import NOISE, AttackSettings
from lord.data.subjects import Subject
from lord.models.card import weights_of
from lord.names import ATTACKS, PURIFIERS
from lord.record import Record, record_key
from lord.study.bench import Bench, Outcome
from lord.study.defences import SELECTION_START
from lord.study.experiments import (
    ace,
    audit,
    condition,
    cost,
    data,
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
from lord.study.profile import (
    OURS,
    TRAINED,
    Ablation,
    Profile,
    Scenario,
    attack_components,
    defence_components,
)

# What was measured in a cell; a further metric leaves the records as they are.
MEASURED = ("metric:fid", "metric:clip_iqa", "metric:identity", "metric:ssim")

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
        asked: for the name of each record those of its settings that differ from their defaults,
            and the checksums of the weights.
        components: what takes part in all of its records, see `lord.names`.
        measured: what else a record measures at present, such as metrics; a further one leaves
            the records as they are.
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
    asked: dict[str, dict[str, Any]]
    components: tuple[str, ...]
    measured: tuple[str, ...]
    compute: Callable[[Bench, Collection[str]], Iterable[tuple[str, Outcome]]]

    def key(self, name: str, versions: Mapping[str, int]) -> str:
        """The key of one of the records, with these versions of components."""
        return record_key(self.stage, self.asked[name], self.seed or 0, versions)

    def matches(self, record: Record) -> bool:
        """Whether a record answers what is asked, by these components or by older versions."""
        return self.key(record.name, record.components) == record.key and set(
            self.components
        ) <= set(record.components)


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
    render, ace_alone = ["step:renderer"], ["attack:ace"]
    ours = defence_components(profile, OURS)
    yield _single("data", profile, data.measure_data, ["domains"], render, weights=False)
    yield _single(
        "model",
        profile,
        model.measure_model,
        ["domains", *judged],
        [*render, "step:sampler", "metric:psnr", "metric:identity"],
        judged=True,
    )
    if profile.timing:
        yield from _timings(profile)
    for domain in profile.domains:
        yield _single(
            "metrics",
            profile,
            metrics.validate_metrics,
            validated,
            [*render, *MEASURED[:3]],
            domain,
            judged=True,
        )
        control = [*render, *ace_alone, f"attack:{NOISE}"]
        yield _single(
            "ace",
            profile,
            ace.demonstrate_attack,
            attacked,
            [*control, "metric:denoising_loss", "metric:psnr"],
            domain,
        )
        for defence in filter(TRAINED.get, profile.faced):
            own = [*defended, *TRAINED[defence]]
            parts = [*render, *ace_alone, *defence_components(profile, defence), "metric:gates"]
            yield _single("stage1", profile, stage1.run_stage1, own, parts, domain, defence)
        audited = [*defended, "comparison", "selection_subjects", *TRAINED[OURS]]
        parts = [*control, *ours, "metric:gates", *(f"purifier:{m}" for m in audit.HARMLESS)]
        parts += [f"attack:{method}" for method in profile.comparison.attacks]
        yield _single("audit", profile, audit.audit_images, audited, parts, domain, OURS)
        if "adaptive" in profile.ablations:
            methods = masking.attacks_of(profile)
            parts = [*control, *ours, "attacker:defended", *(f"attack:{m}" for m in methods)]
            yield _single(
                "masking",
                profile,
                masking.measure_masking,
                known,
                parts,
                domain,
                further={"attacks": methods},
            )
        if through := masking_diffpure.attacks_through(profile):
            photographs = masking_diffpure.photographs(profile)
            parts = [*control, "purifier:diffpure", "attacker:through_diffpure"]
            yield _single(
                "masking_diffpure",
                profile,
                masking_diffpure.measure_masking_diffpure,
                attacked,
                [*parts, *(f"attack:{method}" for method in through)],
                domain,
                further={"attacks": through, "photographs": photographs},
            )
        if "lambda" in profile.ablations:
            parts = [*render, *ace_alone, *defence_components(profile, "lord"), "metric:gates"]
            experiment = sampled_gates.measure_sampled_gates
            parts += ["step:finetune", "step:sampler"]
            yield _single("sampled_gates", profile, experiment, asked, parts, domain)


def _timings(profile: Profile) -> Iterator[Job]:
    """What measures time, and has the machine for itself."""
    attacks = [f"attack:{name}" for name in ATTACKS if name != NOISE]
    yield _single(
        "performance",
        profile,
        performance.measure_performance,
        ["subjects", "budget"],
        ["step:renderer"],
        measured=attacks,
    )
    used = ["subjects", "photographs", "finetune", "stage1"]
    trained = ["step:finetune", "defence:lord", "defence:lora"]
    purifiers = [name for name in profile.faced if name in PURIFIERS]
    yield _single(
        "cost",
        profile,
        cost.measure_cost,
        [*used, "wide", "adversarial"],
        [*trained, "step:sampler", *(f"purifier:{name}" for name in purifiers)],
        further={"purifiers": purifiers},
    )
    if "rank" in profile.ablations:
        ranks = {"variants": profile.ablations["rank"].variants}
        yield _single(
            "rank_cost", profile, rank_cost.measure_rank_cost, used, trained[:2], further=ranks
        )


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


def _settings(
    profile: Profile, names: Iterable[str], weights: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the profile as resolved, and those of them that differ from their defaults."""
    included = {"model", "size", *names}
    resolved = profile.model_dump(mode="json", include=included)
    asked = profile.model_dump(mode="json", include=included, exclude_defaults=True)
    return resolved | {"weights": dict(weights)}, asked | {"weights": dict(weights)}


def _single(
    stage: str,
    profile: Profile,
    experiment: Callable[..., Outcome],
    depends_on: list[str],
    components: Iterable[str],
    domain: str | None = None,
    defence: str | None = None,
    further: Mapping[str, Any] | None = None,
    judged: bool = False,
    weights: bool = True,
    measured: Iterable[str] = (),
) -> Job:
    """A job with one record, of the whole study, of one domain, or of one defence in it.

    Args:
        depends_on: settings of the profile.
        components: what takes part.
        further: what else it depends on, by name.
        judged: whether the metric networks take part.
        weights: whether any network does.
        measured: what is compared; a further one leaves the record as it is.
    """
    name = "-".join(filter(None, (domain, stage, defence)))
    arguments = {"domain": domain, "defence": defence}
    arguments = {key: value for key, value in arguments.items() if value}

    def compute(bench: Bench, _: Collection[str]) -> Iterable[tuple[str, Outcome]]:
        yield name, experiment(bench, **arguments)

    checksums = weights_of(profile.model, judged) if weights else {}
    settings, asked = _settings(profile, depends_on, checksums)
    # Where there are several subjects and seeds, these experiments show the first.
    for own in (settings, asked):
        own |= arguments | dict(further or {})
        own |= {key[:-1]: own.pop(key)[0] for key in ("subjects", "seeds") if key in own}
    return Job(
        stage,
        domain,
        None,
        None,
        None,
        defence,
        {name: settings},
        {name: asked},
        (f"experiment:{stage}", *dict.fromkeys(components)),
        tuple(measured),
        compute,
    )


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
    components = [f"experiment:{stage}", "step:renderer", "step:finetune", "step:sampler"]
    cell = {
        "domain": subject.domain,
        "split": subject.split,
        "subject": subject.index,
        "seed": seed,
        "attack_name": method,
        "defence": defence,
    }
    differing = dict(cell)
    if attack:
        components += attack_components(attack)
        cell["attack"] = attack.model_dump(mode="json")
        differing["attack"] = attack.model_dump(mode="json", exclude_defaults=True)
    if variant:
        depends_on += ["scenario"] if attack else []
        cell["variant"] = differing["variant"] = variant
        label += f"-{stage}_{variant}"
        attacker = profile.scenario.attacker
        if attacker != "base" and attack:
            components.append(f"attacker:{attacker}")
        if attacker in ("defended", "closing"):
            depends_on += TRAINED[defence]
    if defence in TRAINED:
        components += defence_components(profile, defence)
        depends_on += [*TRAINED[defence], "scenario"]
    elif defence != "none":
        components.append(f"purifier:{defence}")
    settings, asked = _settings(profile, depends_on, weights_of(profile.model, judged=True))
    place = f"{subject.domain}-{'subject' if evaluated else 'selection'}{subject.index}-seed{seed}"
    prefix = f"{place}-{method}{label}-{defence}"
    names = {t: prefix if t == "none" else f"{prefix}-{t}" for t in treatments}
    candidates = set(profile.treatments_of(defence)) - {"none"}
    treated = {
        name: {"treatment": treatment, "candidate": treatment in candidates}
        for treatment, name in names.items()
    }

    def compute(bench: Bench, absent: Collection[str]) -> Iterable[tuple[str, Outcome]]:
        own = replace(bench, profile=profile)
        images = scenario.scenario_photographs(own, subject, seed, attack, defence)
        wanted = tuple(treatment for treatment, name in names.items() if name in absent)
        found = condition.measure_condition(own, subject, seed, images, defence, wanted)
        for treatment, outcome in found:
            yield names[treatment], outcome

    return Job(
        stage,
        subject.domain,
        subject.index if evaluated else None,
        seed if evaluated else None,
        method,
        defence,
        {name: settings | cell | own for name, own in treated.items()},
        {name: asked | differing | own for name, own in treated.items()},
        tuple(dict.fromkeys(components)),
        MEASURED,
        compute,
    )
