"""One cell of the results: a subject, an attack, a defence."""

from collections.abc import Iterable, Sequence

from lord.data.subjects import Subject
from lord.defence import apply_treatment
from lord.finetune import remove_adapters
from lord.metrics import validation
from lord.metrics.measure import measure
from lord.sample import generate
from lord.seeding import derive_seed
from lord.study.bench import (
    Bench,
    Outcome,
    attacked_photographs,
    defence_of,
    reference_of,
    rows,
)
from lord.workflow import fine_tune


def measure_condition(
    bench: Bench,
    subject: Subject,
    seed: int,
    attack_name: str,
    defence: str,
    treatments: Sequence[str],
) -> Iterable[tuple[str, Outcome]]:
    """Fine-tune on the subject's photographs under one condition, sample and measure.

    Yields one outcome for every test-time treatment of the gate; without a defence there is one
    treatment, ``"none"``. All share the same fine-tune and the same sampling seeds.
    """
    profile, pipeline = bench.profile, bench.pipeline
    if attack_name == "none":
        images = subject.photographs(profile.photographs, profile.size).images
    else:
        images = attacked_photographs(bench, subject, seed)
    settings = profile.finetune.model_copy(update={"seed": seed})
    folder = defence_of(bench, subject.domain) if defence == "lord" else None
    fine_tune(pipeline, images, [subject.prompt] * len(images), settings, defence=folder)
    reference = reference_of(bench, subject)
    identity = validation.identity_of(subject, subject.photographs(1, profile.size))
    seeds = [derive_seed("sample", seed, k) for k in range(profile.sampling.images)]
    for treatment in treatments:
        if defence == "lord":
            apply_treatment(pipeline, treatment)
        samples = generate(
            pipeline,
            [subject.prompt] * len(seeds),
            seeds,
            steps=profile.sampling.steps,
            guidance_scale=profile.sampling.guidance_scale,
        )
        metrics = measure(bench.instruments, samples, reference, subject.domain, identity)
        yield treatment, Outcome(metrics, sheet=rows(samples[:8]))
    remove_adapters(pipeline)
