"""What the gates can tell: which images are attacked, in which layer and at which noise level."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from lord.adapter import record_gates
from lord.attacks.settings import NOISE, AttackSettings
from lord.data.subjects import Subject
from lord.defences.audit import calibrate, gate_scores
from lord.defences.saved import load_defence
from lord.models.diffusion import predict, training_schedule
from lord.purifiers import purify
from lord.seeding import derive_seed, noise
from lord.study.bench import Bench, Outcome
from lord.study.defences import SELECTION_START, defence_of
from lord.study.photographs import photographs_of
from lord.training.adapters import encode
from lord.training.lora import remove_adapters

LEVELS = 20
BINS = 10

HARMLESS = ("jpeg", "blur")
"""What may happen to a clean photograph without making it an attacked one."""


def audit_images(bench: Bench, domain: str, defence: str) -> Outcome:
    """How well the audit finds attacked photographs, and where in the network the gates can.

    It is calibrated on identities of stage 1 that no gate has seen, with the attack of the study at
    its budget. The metrics are, for each attack and ε, the area under the ROC curve against the
    same subjects' clean photographs, and the mean probability of being attacked; the series, the
    share of attacked ones among photographs of similar probability, and the area under the curve
    of each layer at each timestep.
    """
    profile, pipeline = bench.profile, bench.pipeline
    seed, budget = profile.seeds[0], profile.budget.eps_levels
    known = [
        Subject(domain, "stage1", SELECTION_START + k) for k in range(profile.selection_subjects)
    ]
    subjects = [Subject(domain, "evaluation", index) for index in profile.comparison.subjects]
    folder = defence_of(bench, domain, defence)

    def photographs(of: list[Subject], attack: AttackSettings | None) -> Tensor:
        return torch.cat([photographs_of(bench, subject, seed, attack) for subject in of])

    attacks = {
        (method, levels): profile.attack_of(method, levels)
        for method in profile.comparison.attacks
        for levels in profile.comparison.eps_levels
    }
    sets = {key: photographs(subjects, attack) for key, attack in attacks.items()}
    clean, of_known = photographs(subjects, None), photographs(known, None)
    attacked_known = photographs(known, profile.attack_of("ace"))
    remove_adapters(pipeline)  # attacks and purifiers are of those who know the base model
    prompts = [subject.prompt for subject in subjects for _ in range(profile.photographs)]
    for method in HARMLESS:
        sets[method, 0] = purify(pipeline, clean, prompts, list(range(len(clean))), method)

    load_defence(pipeline, folder)
    known_prompts = [subject.prompt for subject in known for _ in range(profile.photographs)]
    calibration = calibrate(
        gate_scores(pipeline, of_known, known_prompts),
        gate_scores(pipeline, attacked_known, known_prompts),
    )
    scores = {key: gate_scores(pipeline, images, prompts) for key, images in sets.items()}
    of_clean = gate_scores(pipeline, clean, prompts)
    metrics = {"probability/clean/0": calibration.probability(of_clean).mean().item()}
    for (method, levels), values in scores.items():
        metrics[f"auc/{method}/{levels:g}"] = _auc(of_clean, values)
        metrics[f"probability/{method}/{levels:g}"] = calibration.probability(values).mean().item()
    series = {}
    for method in profile.comparison.attacks:
        if method != NOISE:
            both = torch.cat((of_clean, scores[method, budget]))
            series |= _reliability(calibration.probability(both), len(of_clean), method)
    series |= layer_curves(bench, clean, sets["ace", budget], prompts)
    return Outcome(metrics, series)


def _auc(clean: Tensor, attacked: Tensor) -> float:
    """How often an attacked image scores above a clean one, shape (N,) each."""
    target = torch.cat((torch.zeros(len(clean)), torch.ones(len(attacked)))).long()
    scores = torch.cat((clean, attacked)).double()
    low, high = scores.aminmax()  # torchmetrics takes numbers in [0, 1] as they are
    return binary_auroc((scores - low) / (high - low).clamp(min=1e-12), target).item()


def _reliability(probabilities: Tensor, clean: int, method: str) -> dict[str, list[float]]:
    """Mean probability and true share of attacked images, in bins of the probability.

    The first ``clean`` images are clean, the others attacked.
    """
    bins = (probabilities * BINS).long().clamp(max=BINS - 1)
    truth = torch.arange(len(probabilities)) >= clean
    filled = [k for k in range(BINS) if (bins == k).any()]
    return {
        f"said/{method}": [probabilities[bins == k].mean().item() for k in filled],
        f"true/{method}": [truth[bins == k].float().mean().item() for k in filled],
        f"count/{method}": [(bins == k).sum().item() for k in filled],
    }


@torch.no_grad()
def layer_curves(
    bench: Bench, clean: Tensor, attacked: Tensor, prompts: list[str]
) -> dict[str, list[float]]:
    """For every layer, ``auc/<layer>``: how well its gate tells attacked images, by timestep."""
    pipeline = bench.pipeline
    schedule = training_schedule(pipeline)
    steps = schedule.config.num_train_timesteps
    times = (torch.arange(LEVELS) + 0.5).mul(steps / LEVELS).long().tolist()
    latents, text = encode(pipeline, torch.cat((clean, attacked)), prompts * 2)
    curves: dict[str, list[float]] = {}
    for time in times:
        seeds = [derive_seed("layers", time, k) for k in range(len(clean))] * 2
        epsilon = noise(seeds, latents.shape[1:], latents.device)
        at = torch.full((len(latents),), time, device=latents.device)
        with record_gates(pipeline.unet) as gates:
            predict(pipeline.unet, schedule.add_noise(latents, epsilon, at), at, text)
        for name, (logits,) in gates.logits.items():
            values = logits.float().mean(1).cpu()
            auc = _auc(values[: len(clean)], values[len(clean) :])
            curves.setdefault(f"auc/{name}", []).append(auc)
    return {"timestep": [float(time) for time in times]} | curves
