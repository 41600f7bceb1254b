"""Whether an attacker who knows of DiffPure follows gradients that lead anywhere."""

from dataclasses import replace

from lord.attacks.settings import NOISE
from lord.data.subjects import Subject
from lord.study.bench import Bench, Outcome
from lord.study.experiments.masking import objective
from lord.study.experiments.scenario import attacked_through
from lord.study.photographs import photographs_of
from lord.study.profile import Profile
from lord.study.purified import purified
from lord.training.lora import remove_adapters


def attacks_through(profile: Profile) -> list[str]:
    """The attacks with which someone who knows of DiffPure faces it, in the adaptive ablation."""
    if "adaptive" not in profile.ablations:
        return []
    adaptive = profile.ablations["adaptive"]
    attackers = {profile.varied(v).scenario.attacker for v in adaptive.variants.values()}
    faced = [a for a, names in adaptive.conditions.items() if a != "none" and "diffpure" in names]
    return faced if "through_diffpure" in attackers else []


def photographs(profile: Profile) -> int:
    """How many photographs are measured: for each the longest attack takes a minute of one core."""
    return min(4, profile.photographs)


def measure_masking_diffpure(bench: Bench, domain: str) -> Outcome:
    """What attacks raise on photographs that DiffPure has purified, for more gradient steps.

    As `masking.measure_masking`, on the base model: with the purifier as the study uses it, in ten
    steps instead of the attacker's two, and with noise that the attacker has not seen.
    """
    profile, pipeline = bench.profile, bench.pipeline
    bench = replace(bench, profile=profile.varied({"photographs": photographs(profile)}))
    subject, seed = Subject(domain, "evaluation", profile.subjects[0]), profile.seeds[0]
    usual = profile.budget.steps
    counts = (max(1, usual // 4), usual, 4 * usual)
    outcome = Outcome({}, {"steps": list(counts)})
    for method in attacks_through(profile):
        settings = profile.attack_of(method)
        compared = {"clean": None, "noise": profile.attack_of(NOISE), "unaware": settings}
        seen = [photographs_of(bench, subject, seed, attack) for attack in compared.values()]
        for count in counts:
            longer = profile.attack_of(method, steps=count)
            seen.append(attacked_through(bench, subject, seed, longer))
        remove_adapters(pipeline)
        kept = [purified(bench, subject, images, "diffpure") for images in seen]
        values = [objective(pipeline, images, subject.prompt, settings) for images in kept]
        names = [f"{method}/{name}" for name in compared]
        outcome.metrics.update(zip(names, values[: len(names)], strict=True))
        outcome.series[method] = values[len(names) :]
    return outcome
