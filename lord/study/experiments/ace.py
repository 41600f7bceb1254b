"""What the attack does to photographs."""

from lord.attacks.pgd import denoising_loss
from lord.attacks.settings import AMPLIFIED, NOISE
from lord.data.subjects import Subject
from lord.study.bench import Bench, Outcome, psnr, rows
from lord.study.photographs import photographs_of


def demonstrate_attack(bench: Bench, domain: str) -> Outcome:
    """What the attack does to photographs, and to the model's denoising loss on them.

    The control is uniform noise within the same budget.
    """
    profile, pipeline = bench.profile, bench.pipeline
    subject, seed = Subject(domain, "evaluation", profile.subjects[0]), profile.seeds[0]
    seen = {
        "clean": photographs_of(bench, subject, seed, None),
        "noise": photographs_of(bench, subject, seed, profile.attack_of(NOISE)),
        "attacked": photographs_of(bench, subject, seed, profile.attack_of("ace")),
    }
    clean, attacked = seen["clean"], seen["attacked"]
    prompts = [subject.prompt] * len(clean)
    metrics = {"eps_levels": profile.budget.eps_levels}
    for name, images in seen.items():
        metrics[f"loss_{name}"] = denoising_loss(pipeline, images, prompts).mean().item()
        if images is not clean:
            metrics[f"psnr_{name}"] = psnr((images - clean).square().mean(dim=(1, 2, 3)))
    difference = (0.5 + AMPLIFIED * (attacked - clean)).clamp(0, 1)
    return Outcome(metrics, sheet=rows(clean[:8], attacked[:8], difference[:8]))
