"""What the gates can tell: which images are attacked, in which layer and at which noise level."""

from collections.abc import Iterator
from itertools import product

from lord.attacks.settings import NOISE
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.cells import defence_components, single
from lord.experiments.lord.protocol import PROPOSED, SELECTION_START, TRAINED
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile

HARMLESS = ("jpeg", "blur")
"""What may happen to a clean photograph without making it an attacked one."""


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain, on the attacks and subjects of the comparison of attacks."""
    protocol, compared = profile["lord"], profile["damage"]
    names = ["seeds", "photographs", "budget", "finetune", "selection_subjects", *TRAINED[PROPOSED]]
    components = ["step:renderer", "attack:ace", f"attack:{NOISE}"]
    components += [*defence_components(protocol, PROPOSED), "metric:gates"]
    components += [f"purifier:{method}" for method in HARMLESS]
    components += [f"attack:{method}" for method in compared.attacks]
    further = {name: getattr(compared, name) for name in ("attacks", "eps_levels")}
    further["subjects"] = compared.subjects
    for domain in protocol.domains:
        yield single("audit", protocol, names, components, domain, PROPOSED, **further)


def measure(context: Context, cell: Cell) -> Outcome:
    """How well the audit finds attacked photographs, and where in the network the gates can.

    It is calibrated on identities of stage 1 that no gate has seen, with the attack of the study at
    its budget. The metrics are, for each attack and ε, the area under the ROC curve against the
    same subjects' clean photographs, and the mean probability of being attacked; the series, the
    share of attacked ones among photographs of similar probability, and the area under the curve
    of each layer at each timestep.
    """
    import torch

    from lord.defences.audit import calibrate, gate_scores
    from lord.defences.saved import load_defence
    from lord.experiments.lord.chain.defences import defence_of
    from lord.experiments.lord.chain.gates import auc, layer_curves, reliability
    from lord.experiments.lord.chain.model import base_pipeline
    from lord.experiments.lord.chain.photographs import photographs_of
    from lord.experiments.lord.chain.subjects import subject_of
    from lord.purifiers.methods import purify

    settings, domain, seed = cell.settings, cell["domain"], cell["seed"]
    usual = settings.budget.eps_levels
    known = [
        subject_of(settings, domain, "stage1", SELECTION_START + k)
        for k in range(settings.selection_subjects)
    ]
    subjects = [subject_of(settings, domain, "evaluation", index) for index in settings.subjects]
    folder = defence_of(context, settings, domain, cell["defence"])

    def photographs(of, attack):
        return torch.cat([photographs_of(context, settings, who, seed, attack) for who in of])

    sets = {
        (method, levels): photographs(subjects, attack_at(settings, method, levels))
        for method, levels in product(settings.attacks, settings.eps_levels)
    }
    clean, of_known = photographs(subjects, None), photographs(known, None)
    attacked_known = photographs(known, attack_at(settings, "ace"))
    pipeline = base_pipeline(context, settings)  # purifiers are of those who know the base model
    prompts = [subject.prompt for subject in subjects for _ in range(settings.photographs)]
    for method in HARMLESS:
        sets[method, 0] = purify(pipeline, clean, prompts, list(range(len(clean))), method)

    load_defence(pipeline, folder)
    known_prompts = [subject.prompt for subject in known for _ in range(settings.photographs)]
    calibration = calibrate(
        gate_scores(pipeline, of_known, known_prompts),
        gate_scores(pipeline, attacked_known, known_prompts),
    )
    scores = {key: gate_scores(pipeline, images, prompts) for key, images in sets.items()}
    of_clean = gate_scores(pipeline, clean, prompts)
    metrics = {"probability/clean/0": calibration.probability(of_clean).mean().item()}
    for (method, levels), values in scores.items():
        metrics[f"auc/{method}/{levels:g}"] = auc(of_clean, values)
        metrics[f"probability/{method}/{levels:g}"] = calibration.probability(values).mean().item()
    series = {}
    for method in settings.attacks:
        if method != NOISE:
            both = torch.cat((of_clean, scores[method, usual]))
            series |= reliability(calibration.probability(both), len(of_clean), method)
    series |= layer_curves(pipeline, clean, sets["ace", usual], prompts)
    return Outcome(metrics, series)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    metrics = {"probability/clean/0": 0.1, "auc/jpeg/0": 0.5}
    for name, level in product(cell.settings.attacks, cell.settings.eps_levels):
        metrics[f"auc/{name}/{level:g}"] = 0.9
    series = {"said/ace": [0.1, 0.9], "true/ace": [0.0, 1.0], "count/ace": [4.0, 4.0]}
    layers = ("up_blocks.0.to_q", "mid_block.to_q", "down_blocks.0.to_q")
    return Outcome(metrics, series | {f"auc/{layer}": [0.9, 0.5] for layer in layers})


EXPERIMENT = Experiment(
    name="audit",
    title="whether gates find attacked photographs",
    cells=cells,
    measure=measure,
    example=example,
    needs=("stage1", "selection", "damage"),
)
