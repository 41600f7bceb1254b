"""What a gradient step of every attack costs, beside the least it could and the published loop."""

from collections.abc import Iterator

from lord.attacks.settings import NOISE, PATTERN
from lord.experiments.lord.budget import attack_at
from lord.experiments.lord.cells import single
from lord.experiments.lord.conditions import tabulated
from lord.experiments.lord.protocol import GradientTiming
from lord.names import ATTACKS
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Table
from lord.study.profile import Profile


def cells(profile: Profile) -> Iterator[Cell]:
    names = ["domains", "subjects", "budget", "finetune"]
    attacks = tuple(f"attack:{name}" for name in ATTACKS if name != NOISE)
    cell = single("performance", profile["lord"], names, ["step:renderer"], measured=attacks)
    yield cell.with_settings(profile["performance"], "turns", "images")


def measure(context: Context, cell: Cell) -> Outcome:
    """Seconds of one gradient step for a batch of images, everything side by side in one run.

    The floor is one pass forward and backward through encoder and U-Net. What is called naive is
    the loop in the public code of ACE+.
    """
    from functools import partial

    from lord.attacks.objectives import OBJECTIVES
    from lord.attacks.pgd import frozen, load_target, objective_values, pgd_step
    from lord.experiments.lord.chain.gradient_steps import floor_step, naive_step
    from lord.experiments.lord.chain.model import base_pipeline
    from lord.experiments.lord.chain.subjects import subject_of
    from lord.experiments.timing import fastest_turns
    from lord.models.pipeline import encode_prompts

    own, pipeline = cell.settings, base_pipeline(context, cell.settings)
    subject = subject_of(own, own.domains[0], "evaluation", cell["subject"])
    images = subject.photographs(own.images, own.size).images.to(pipeline.device)
    text = encode_prompts(pipeline, [subject.prompt] * len(images))
    target = load_target(pipeline, PATTERN, own.size, own.size)
    seeds = list(range(len(images)))

    def attack_step(method: str) -> None:
        settings = attack_at(own, method)
        loss = partial(
            objective_values, pipeline, text=text, settings=settings, target=target, seeds=seeds
        )
        pgd_step([loss], images, images, settings.eps, settings.step_size)

    steps = {
        "floor": partial(floor_step, pipeline, images, text),
        "naive": partial(naive_step, pipeline, images, subject.prompt, target.latents, seeds),
    } | {method: partial(attack_step, method) for method in OBJECTIVES}
    with frozen(pipeline.vae, pipeline.unet):
        seconds = fastest_turns(steps, pipeline.device, own.turns)
    metrics = {}
    for name, value in seconds.items():
        metrics[f"{name}/seconds_per_image"] = value / len(images)
        metrics[f"{name}/times_the_floor"] = value / seconds["floor"]
    metrics["ace_plus/faster_than_naive"] = seconds["naive"] / seconds["ace_plus"]
    return Outcome(metrics)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    columns = ("seconds_per_image", "times_the_floor")
    attacks = {"floor": 1.4, "naive": 1.5, "ace": 1.7, "advdm": 1.9, "ace_plus": 1.5}
    steps = {f"{name}/{c}": value for name, value in attacks.items() for c in columns}
    return Outcome(steps | {"ace_plus/faster_than_naive": 2.5})


EXPERIMENT = Experiment(
    name="performance",
    title="what a gradient step of each attack costs",
    cells=cells,
    measure=measure,
    example=example,
    section=GradientTiming,
    version=2,
    timed=True,
    tables={"performance": Table(("performance", "cost"), tabulated("performance_table"))},
)
