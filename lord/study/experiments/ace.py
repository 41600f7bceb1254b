"""What the attack does to photographs."""

import torch

from lord.attacks import denoising_loss, project, quantise
from lord.data.subjects import Subject
from lord.seeding import derive_seed
from lord.study.bench import Bench, Outcome, attacked_photographs, psnr, rows


def demonstrate_attack(bench: Bench, domain: str) -> Outcome:
    """What the attack does to photographs, and to the model's denoising loss on them.

    The control adds ε with random signs, which is as large as the attack can become.
    """
    profile, pipeline = bench.profile, bench.pipeline
    subject, seed = Subject(domain, "evaluation", profile.subjects[0]), profile.seeds[0]
    clean = subject.photographs(profile.photographs, profile.size).images
    attacked = attacked_photographs(bench, subject, seed)
    eps = profile.attack.eps
    generator = torch.Generator().manual_seed(derive_seed("control", seed))
    signs = torch.randint(2, clean.shape, generator=generator) * 2 - 1
    noisy = quantise(project(clean + eps * signs, clean, eps), clean, eps)
    prompts = [subject.prompt] * len(clean)
    metrics = {"eps_levels": eps * 255}
    for name, images in (("clean", clean), ("noise", noisy), ("attacked", attacked)):
        metrics[f"loss_{name}"] = denoising_loss(pipeline, images, prompts).mean().item()
    for name, images in (("noise", noisy), ("attacked", attacked)):
        metrics[f"psnr_{name}"] = psnr((images - clean).square().mean(dim=(1, 2, 3)))
    difference = (0.5 + 8 * (attacked - clean)).clamp(0, 1)
    return Outcome(metrics, sheet=rows(clean[:8], attacked[:8], difference[:8]))
