"""What an attack raises, on draws of timestep and noise that it has not seen."""

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lord.attacks.pgd import load_target, objective_values
from lord.attacks.settings import NOISE, AttackSettings
from lord.defences.saved import load_defence
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.chain.defences import defence_of, purified
from lord.experiments.lord.chain.model import base_pipeline
from lord.experiments.lord.chain.photographs import photographs_of
from lord.experiments.lord.chain.scenario import attacked_knowingly
from lord.experiments.lord.chain.subjects import subject_of
from lord.experiments.lord.protocol import TRAINED
from lord.models.pipeline import encode_prompts
from lord.names import TARGETED
from lord.seeding import derive_seed
from lord.study.context import Context
from lord.study.experiment import Cell, Outcome


def raised(context: Context, cell: Cell, attacker: str, defence: str) -> Outcome:
    """What each attack of a cell raises on photographs of a subject, behind a defence.

    Metrics are the objective on clean photographs, under noise and under the attack on the base
    model (``unaware``); a series is that of an attacker who knows the defence, by gradient
    ``steps``. It is taken on the defended model or, of a purifier, on what that leaves of the
    photographs.
    """
    own, seed = cell.settings, cell["seed"]
    subject = subject_of(own, cell["domain"], "evaluation", cell["subject"])
    usual = own.budget.steps
    counts = (max(1, usual // 4), usual, 4 * usual)
    outcome = Outcome({}, {"steps": list(counts)})
    for method in own.attacks:
        attack = attack_at(own, method)
        compared = {"clean": None, "noise": attack_at(own, NOISE), "unaware": attack}
        sets = [photographs_of(context, own, subject, seed, a) for a in compared.values()]
        for count in counts:
            longer = attack_at(own, method, steps=count)
            sets.append(attacked_knowingly(context, own, subject, seed, longer, defence, attacker))
        folder = None
        if defence in TRAINED:
            folder = defence_of(context, own, subject.domain, defence)
        else:
            sets = [purified(context, own, subject, images, defence) for images in sets]
        pipeline = base_pipeline(context, own)
        if folder:
            load_defence(pipeline, folder)
        values = [objective(pipeline, images, subject.prompt, attack, own.draws) for images in sets]
        names = [f"{method}/{name}" for name in compared]
        outcome.metrics.update(zip(names, values[: len(names)], strict=True))
        outcome.series[method] = values[len(names) :]
    return outcome


@torch.no_grad()
def objective(
    pipeline: StableDiffusionPipeline,
    images: Tensor,
    prompt: str,
    settings: AttackSettings,
    draws: int,
) -> float:
    """What the attack raises, on images (N, 3, H, W) in [0, 1], as a mean over draws."""
    text = encode_prompts(pipeline, [prompt] * len(images))
    target = None
    if settings.method in TARGETED:
        target = load_target(pipeline, settings.target, *images.shape[2:])
    total = 0.0
    for draw in range(draws):
        seeds = [derive_seed("masking", draw, k) for k in range(len(images))]
        values = objective_values(pipeline, images, text, settings, target, seeds)
        total += values.mean().item() / draws
    return total
