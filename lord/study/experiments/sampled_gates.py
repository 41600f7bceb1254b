"""What the gates of LoRD say while pictures are sampled, where nobody has attacked the input."""

from diffusers import DDIMScheduler
from torch import Tensor

from lord.adapter import record_gates
from lord.api import fine_tune
from lord.data.subjects import Subject
from lord.defences.gates import gate_profile
from lord.defences.treatments import apply_treatment
from lord.models.sample import generate
from lord.seeding import derive_seed
from lord.study.bench import Bench, Outcome
from lord.study.defences import defence_of
from lord.study.photographs import photographs_of


def measure_sampled_gates(bench: Bench, domain: str) -> Outcome:
    """λ behind a LoRA on clean photographs, and behind one on photographs attacked by ACE.

    Series are the mean over layers and the quartiles over images, of the ``photographs`` that the
    LoRA has learned from, noised, and of its ``samples`` on their way, each against the timestep;
    metrics are the means over all steps of sampling.
    """
    profile, pipeline = bench.profile, bench.pipeline
    subject, seed = Subject(domain, "evaluation", profile.subjects[0]), profile.seeds[0]
    folder, sampling = defence_of(bench, domain), profile.sampling
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(sampling.steps)
    outcome = Outcome({}, {"samples/timestep": scheduler.timesteps.tolist()})
    for name, attack in (("clean", None), ("attacked", profile.attack_of("ace"))):
        images = photographs_of(bench, subject, seed, attack)
        captions = [subject.prompt] * len(images)
        settings = profile.finetune.model_copy(update={"seed": seed})
        fine_tune(pipeline, images, captions, settings, defence=folder)
        apply_treatment(pipeline, "learned")
        seen = gate_profile(pipeline, images, images, captions)
        with record_gates(pipeline.unet) as gates:
            generate(
                pipeline,
                captions,
                [derive_seed("sample", seed, k) for k in range(len(images))],
                steps=sampling.steps,
                guidance_scale=sampling.guidance_scale,
                batch_size=len(images),
            )
        # With guidance, the prompt's half of each pass comes last.
        sampled = gates.per_sample().float().cpu().mean(1)[:, -len(images) :]
        outcome.metrics[name] = sampled.mean().item()
        outcome.series["photographs/timestep"] = seen.timesteps.tolist()
        outcome.series.update(quartiles(f"photographs/{name}", seen.clean))
        outcome.series.update(quartiles(f"samples/{name}", sampled))
    return outcome


def quartiles(name: str, gates: Tensor) -> dict[str, list[float]]:
    """The mean and the quartiles over images of λ, shape (steps, N)."""
    return {
        f"{name}_mean": gates.mean(1).tolist(),
        f"{name}_low": gates.quantile(0.25, dim=1).tolist(),
        f"{name}_high": gates.quantile(0.75, dim=1).tolist(),
    }
