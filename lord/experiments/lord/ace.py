"""What the attack does to photographs."""

from collections.abc import Iterator

from lord.attacks.settings import NOISE
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.cells import single
from lord.experiments.sheet import made_up, rows
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile

AMPLIFIED = 10
"""How often a perturbation is magnified, around grey, to be seen."""


def cells(profile: Profile) -> Iterator[Cell]:
    names = ["subjects", "seeds", "photographs", "budget"]
    components = ["step:renderer", "attack:ace", f"attack:{NOISE}"]
    components += ["metric:denoising_loss", "metric:psnr"]
    for domain in profile["lord"].domains:
        yield single("ace", profile["lord"], names, components, domain)


def measure(context: Context, cell: Cell) -> Outcome:
    """What the attack does to photographs, and to the model's denoising loss on them.

    The control is uniform noise within the same budget. ``rms_…`` is the root mean square of a
    change, in units of ε.
    """
    from lord.attacks.pgd import denoising_loss
    from lord.experiments.lord.chain.model import base_pipeline, psnr
    from lord.experiments.lord.chain.photographs import photographs_of
    from lord.experiments.lord.chain.subjects import subject_of

    settings, seed = cell.settings, cell["seed"]
    subject = subject_of(settings, cell["domain"], "evaluation", cell["subject"])
    attacks = {"clean": None, "noise": attack_at(settings, NOISE)}
    attacks["attacked"] = attack_at(settings, "ace")
    seen = {
        name: photographs_of(context, settings, subject, seed, attack)
        for name, attack in attacks.items()
    }
    pipeline, clean, attacked = base_pipeline(context, settings), seen["clean"], seen["attacked"]
    prompts = [subject.prompt] * len(clean)
    metrics = {"eps_levels": settings.budget.eps_levels}
    for name, images in seen.items():
        metrics[f"loss_{name}"] = denoising_loss(pipeline, images, prompts).mean().item()
        if images is not clean:
            squared = (images - clean).square().mean(dim=(1, 2, 3))
            metrics[f"psnr_{name}"] = psnr(squared)
            metrics[f"rms_{name}"] = squared.mean().sqrt().item() / attacks["attacked"].eps
    difference = (0.5 + AMPLIFIED * (attacked - clean)).clamp(0, 1)
    return Outcome(metrics, sheet=rows(clean[:8], attacked[:8], difference[:8]))


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    losses = {"loss_clean": 0.1, "loss_noise": 0.11, "loss_attacked": 0.4}
    return Outcome({"eps_levels": 8.0} | losses, sheet=made_up(cell.name, 3, cell.settings.size))


EXPERIMENT = Experiment(
    name="ace",
    title="what the attack does to photographs and to the loss",
    cells=cells,
    measure=measure,
    example=example,
    kept=lambda records: [record for record in records if record.kind == "ace"],
)
