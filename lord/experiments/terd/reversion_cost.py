"""What reversing a trigger costs, beside the passes through the network that it has to make."""

from collections.abc import Iterator

from pydantic import PositiveInt

from lord.experiments.terd.protocol import checksums
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section, Settings
from lord.study.profile import Profile


class ReversionTiming(Section):
    """How long a reversion is timed, and how often."""

    turns: PositiveInt = 5
    steps: PositiveInt = 4
    refine_steps: PositiveInt = 2


def cells(profile: Profile) -> Iterator[Cell]:
    """A single cell."""
    protocol = profile["terd"]
    settings = Settings.of(protocol, "model", "reversion").also(**checksums(protocol))
    cell = Cell("reversion_cost", {}, settings, ("detector:reversion",))
    yield cell.with_settings(profile["reversion_cost"], "turns", "steps", "refine_steps")


def measure(context: Context, cell: Cell) -> Outcome:
    """Seconds and peak memory of a short reversion, and of its passes alone, side by side.

    A step of the first stage is one pass forward and backward, of two batches at once. A step of
    the second has two such, and for every step of the sampler, which is run again on the way back,
    two passes forward and one backward.
    """
    import torch

    from lord.backdoors.reversion import reverse
    from lord.experiments.terd.chain.suspects import clean_model, plain_noises
    from lord.experiments.timing import fastest_turns
    from lord.record import measure as measured

    own, pipeline = cell.settings, clean_model(context, cell.settings)
    how = own.reversion.model_copy(update={"steps": own.steps, "refine_steps": own.refine_steps})
    unet, batch = pipeline.unet, own.reversion.batch_size
    images = plain_noises("timing", 2 * batch, pipeline).to(unet.device)
    times = torch.full((len(images),), 500, device=unet.device)

    def forward(count: int) -> None:
        with torch.no_grad():
            unet(images[:count], times[:count])

    def both(count: int) -> None:
        x = images[:count].clone().requires_grad_(True)
        torch.autograd.grad(unet(x, times[:count]).sample.sum(), x)

    def passes() -> None:
        for _ in range(own.steps + 2 * own.refine_steps):
            both(2 * batch)
        for _ in range(own.refine_steps * how.sampler_steps):
            forward(batch)
            both(batch)

    steps = {"reversion": lambda: reverse(pipeline, how), "passes": passes}
    seconds = fastest_turns(steps, unet.device, own.turns)
    metrics = {f"{name}/seconds": value for name, value in seconds.items()}
    metrics["reversion/times_its_passes"] = seconds["reversion"] / seconds["passes"]
    for name, step in steps.items():
        with measured() as measurement:
            step()
        metrics[f"{name}/peak_memory_mb"] = measurement.peak_memory_mb
    return Outcome(metrics)


def example(cell: Cell) -> Outcome:
    """Made-up numbers."""
    metrics = {f"{name}/seconds": 1.0 for name in ("reversion", "passes")}
    metrics |= {f"{name}/peak_memory_mb": 900.0 for name in ("reversion", "passes")}
    return Outcome(metrics | {"reversion/times_its_passes": 1.0})


EXPERIMENT = Experiment(
    name="reversion_cost",
    title="what reversing a trigger costs beside the passes it has to make",
    section=ReversionTiming,
    cells=cells,
    measure=measure,
    example=example,
    timed=True,
)
