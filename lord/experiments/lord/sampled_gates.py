"""What the gates of LoRD say while pictures are sampled, where nobody has attacked the input."""

from collections.abc import Iterator
from itertools import product

from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.cells import defence_components, single
from lord.experiments.lord.protocol import PROPOSED, TRAINED
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each domain, where gates are compared."""
    if "lambda" not in profile:
        return
    protocol = profile["lord"]
    names = ["subjects", "seeds", "photographs", "budget", "finetune", "sampling"]
    components = ["step:renderer", "attack:ace", *defence_components(protocol, PROPOSED)]
    components += ["metric:gates", "step:finetune", "step:sampler"]
    for domain in protocol.domains:
        yield single("sampled_gates", protocol, [*names, *TRAINED[PROPOSED]], components, domain)


def measure(context: Context, cell: Cell) -> Outcome:
    """λ behind a LoRA on clean photographs, and behind one on photographs attacked by ACE.

    Series are the mean over layers and the quartiles over images, of the ``photographs`` that the
    LoRA has learned from, noised, and of its ``samples`` on their way, each against the timestep;
    metrics are the means over all steps of sampling.
    """
    from diffusers import DDIMScheduler

    from lord.adapter import record_gates
    from lord.api import fine_tune
    from lord.defences.gates import gate_profile, quartiles
    from lord.defences.treatments import apply_treatment
    from lord.experiments.lord.chain.defences import defence_of
    from lord.experiments.lord.chain.model import base_pipeline
    from lord.experiments.lord.chain.photographs import photographs_of
    from lord.experiments.lord.chain.subjects import subject_of
    from lord.models.sample import generate
    from lord.seeding import derive_seed

    settings, sampling, seed = cell.settings, cell.settings.sampling, cell["seed"]
    subject = subject_of(settings, cell["domain"], "evaluation", cell["subject"])
    folder = defence_of(context, settings, subject.domain)
    pipeline = base_pipeline(context, settings)
    scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(sampling.steps)
    outcome = Outcome({}, {"samples/timestep": scheduler.timesteps.tolist()})
    for name, attack in (("clean", None), ("attacked", attack_at(settings, "ace"))):
        images = photographs_of(context, settings, subject, seed, attack)
        captions = [subject.prompt] * len(images)
        finetune = settings.finetune.model_copy(update={"seed": seed})
        fine_tune(pipeline, images, captions, finetune, defence=folder)
        apply_treatment(pipeline, "learned")
        seen = gate_profile(pipeline, images, images, captions)
        seeds = [derive_seed("sample", seed, k) for k in range(len(images))]
        with record_gates(pipeline.unet) as gates:
            generate(
                pipeline,
                captions,
                seeds,
                sampling.steps,
                sampling.guidance_scale,
                batch_size=len(images),
            )
        # With guidance, the prompt's half of each pass comes last.
        sampled = gates.per_sample().float().cpu().mean(1)[:, -len(images) :]
        outcome.metrics[name] = sampled.mean().item()
        outcome.series["photographs/timestep"] = seen.timesteps.tolist()
        outcome.series.update(quartiles(f"photographs/{name}", seen.clean))
        outcome.series.update(quartiles(f"samples/{name}", sampled))
    return outcome


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    kinds = ("samples", "photographs")
    series = {f"{kind}/timestep": [900.0, 500.0] for kind in kinds}
    for kind, name, end in product(kinds, ("clean", "attacked"), ("low", "mean", "high")):
        series[f"{kind}/{name}_{end}"] = [0.5, 0.2]
    return Outcome({"clean": 0.3, "attacked": 0.8}, series)


EXPERIMENT = Experiment(
    name="sampled_gates",
    title="what the gates say while pictures are sampled",
    cells=cells,
    measure=measure,
    example=example,
    needs=("stage1",),
)
