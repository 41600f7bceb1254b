"""Whether an attacker who knows the defence follows true gradients."""

from dataclasses import replace

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.attacks.pgd import load_target, objective_values
from lord.attacks.settings import NOISE, AttackSettings
from lord.data.subjects import Subject
from lord.defences.saved import load_defence
from lord.models.pipeline import encode_prompts
from lord.names import TARGETED
from lord.seeding import derive_seed
from lord.study.bench import Bench, Outcome
from lord.study.defences import defence_of
from lord.study.experiments.scenario import attacked_knowingly
from lord.study.photographs import photographs_of
from lord.study.profile import OURS, Profile
from lord.training.lora import remove_adapters

# Draws of timestep and noise, which the attacks have not seen, that an objective is the mean of.
DRAWS = 32


def attacks_of(profile: Profile) -> list[str]:
    """The attacks of those who know the defence, in the adaptive ablation."""
    return list(profile.ablations["adaptive"].conditions)


def measure_masking(bench: Bench, domain: str) -> Outcome:
    """What attacks raise, measured on the defended model, for more and more gradient steps.

    Signs of masked gradients would be that an attack on the defended model itself raises its
    objective less than the same attack on the base model does (``unaware``), or not above that of
    uniform noise, or no further with more steps (Athalye et al., Obfuscated Gradients Give a False
    Sense of Security, 2018). Metrics are the objective of each attack on clean, noisy and unaware
    photographs; a series is that on photographs attacked knowingly, by ``steps``.
    """
    profile, pipeline = bench.profile, bench.pipeline
    knowing = replace(bench, profile=profile.varied({"scenario": {"attacker": "defended"}}))
    subject, seed = Subject(domain, "evaluation", profile.subjects[0]), profile.seeds[0]
    usual = profile.budget.steps
    counts = (max(1, usual // 4), usual, 4 * usual)
    outcome = Outcome({}, {"steps": list(counts)})
    for method in attacks_of(profile):
        settings = profile.attack_of(method)
        compared = {"clean": None, "noise": profile.attack_of(NOISE), "unaware": settings}
        seen = [photographs_of(bench, subject, seed, attack) for attack in compared.values()]
        for count in counts:
            longer = profile.attack_of(method, steps=count)
            seen.append(attacked_knowingly(knowing, subject, seed, longer, OURS))
        remove_adapters(pipeline)
        load_defence(pipeline, defence_of(bench, domain, OURS))
        values = [objective(pipeline, images, subject.prompt, settings) for images in seen]
        names = [f"{method}/{name}" for name in compared]
        outcome.metrics.update(zip(names, values[: len(names)], strict=True))
        outcome.series[method] = values[len(names) :]
    return outcome


@torch.no_grad()
def objective(
    pipeline: StableDiffusionPipeline, images: Tensor, prompt: str, settings: AttackSettings
) -> float:
    """What the attack raises, on images (N, 3, H, W) in [0, 1] and draws it has not seen."""
    text = encode_prompts(pipeline, [prompt] * len(images))
    target = None
    if settings.method in TARGETED:
        target = load_target(pipeline, settings.target, *images.shape[2:])
    total = 0.0
    for draw in range(DRAWS):
        seeds = [derive_seed("masking", draw, k) for k in range(len(images))]
        values = objective_values(pipeline, images, text, settings, target, seeds)
        total += values.mean().item() / DRAWS
    return total
