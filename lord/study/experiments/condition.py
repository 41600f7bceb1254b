"""One cell of the results: a subject, an attack, a defence."""

from collections.abc import Iterable, Sequence

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lord.api import fine_tune
from lord.data.subjects import Subject
from lord.defences.treatments import apply_treatment
from lord.metrics import validation
from lord.metrics.measure import measure
from lord.models.sample import generate
from lord.seeding import derive_seed
from lord.study.bench import Bench, Outcome, reference_of, rows
from lord.study.defences import protect
from lord.study.photographs import photographs_of


def measure_condition(
    bench: Bench,
    subject: Subject,
    seed: int,
    images: Tensor,
    defence: str,
    treatments: Sequence[str],
) -> Iterable[tuple[str, Outcome]]:
    """Fine-tune on a subject's photographs behind a defence, sample and measure.

    Yields one outcome for every test-time treatment of the gate; without a defence there is one
    treatment, ``"none"``. All share the same fine-tune and the same sampling seeds. The sheet has
    samples and, below them, the photographs they were learned from.

    Args:
        images: the photographs as the attacker left them, shape (N, 3, H, W) in [0, 1].
    """
    profile, pipeline = bench.profile, bench.pipeline
    clean = photographs_of(bench, subject, seed, None)
    # 1 for clean photographs: how little an attack changes what people see.
    ssim = structural_similarity_index_measure(images, clean, data_range=1.0).item()
    settings = profile.finetune.model_copy(update={"seed": seed})
    folder = None
    if defence != "none":
        images, folder = protect(bench, subject, images, defence)
    fine_tune(pipeline, images, [subject.prompt] * len(images), settings, defence=folder)
    reference = reference_of(bench, subject)
    identity = validation.identity_of(subject, subject.photographs(1, profile.size))
    seeds = [derive_seed("sample", seed, k) for k in range(profile.sampling.images)]
    for treatment in treatments:
        if folder:
            apply_treatment(pipeline, treatment)
        samples = generate(
            pipeline,
            [subject.prompt] * len(seeds),
            seeds,
            steps=profile.sampling.steps,
            guidance_scale=profile.sampling.guidance_scale,
        )
        adapters = [w for name, w in pipeline.unet.named_parameters() if ".lora_" in name]
        own = {"ssim": ssim, "adapter_thousands": sum(w.numel() for w in adapters) / 1000}
        metrics = measure(bench.instruments, samples, reference, subject.domain, identity)
        count = min(8, len(images))
        sheet = rows(samples[:count], images[:count])
        yield treatment, Outcome(metrics | own, sheet=sheet)
