"""Whether the reversed loss singles the true trigger out, which the search for it relies on."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from lord.experiments.terd.protocol import suspect_cell, zoo
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Section
from lord.study.profile import Profile

if TYPE_CHECKING:
    from diffusers import DDPMPipeline
    from torch import Tensor


class ReversedLoss(Section):
    """How well the reversed loss is known, and where it is taken."""

    pairs: PositiveInt = Field(64, description="of noises, the same ones everywhere")
    points: int = Field(6, ge=2, description="from no trigger to the true one")


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each backdoored model, without those that are hard to find."""
    protocol, own = profile["terd"], profile["reversed_loss"]
    for group, suspect, seed in zoo(protocol):
        if group == "backdoored":
            names = ("reversion", "starts")
            cell = suspect_cell(
                "reversed_loss", protocol, group, suspect, seed, names, ("detector:reversion",)
            )
            yield cell.with_settings(own, *ReversedLoss.model_fields)


def measure(context: Context, cell: Cell) -> Outcome:
    """The loss of the first stage along the line from (μ, γ) = (0, 1) to the true trigger.

    Beside it that of the model before its fine-tune, and that of what was reversed from each
    start. For the search λ‖μ‖₁ is taken off, which is recorded as ``norm``. Of each start the
    cosine to the true trigger is recorded, before anything was found and after.
    """
    import torch

    from lord.backdoors.reversion import first_trigger
    from lord.experiments.terd.chain import suspects
    from lord.experiments.terd.chain.reversal import reversal_of

    own, scanned = cell.settings, suspects.suspect_of(context, cell)
    mu, gamma, model = scanned.backdoor.mu, scanned.backdoor.gamma, scanned.pipeline
    shares = torch.linspace(0, 1, own.points).tolist()
    line = [(share * mu, 1 + share * (gamma - 1)) for share in shares]
    before = suspects.base_of(context, cell)
    series = {
        "share": shares,
        "loss": [prior_loss(model, *point, own.pairs) for point in line],
        "loss_before": [prior_loss(before, *point, own.pairs) for point in line],
    }
    metrics = {"loss/none": series["loss"][0], "loss/true": series["loss"][-1]}
    metrics["norm/true"] = own.reversion.weight * mu.abs().sum().item()
    for start in own.starts:
        how = own.reversion.model_copy(update={"start": start})
        found = reversal_of(context, replace(cell, settings=own.also(reversion=how)))
        metrics[f"loss/{start}"] = prior_loss(model, found.mu, found.gamma, own.pairs)
        metrics[f"norm/{start}"] = own.reversion.weight * found.mu.abs().sum().item()
        for name, shift in (("start_cosine", first_trigger(model, how)), ("cosine", found.mu)):
            cosine = torch.cosine_similarity(shift.flatten(), mu.flatten(), 0)
            metrics[f"{name}/{start}"] = cosine.item()
    return Outcome(metrics, series)


def prior_loss(pipeline: "DDPMPipeline", mu: "Tensor", gamma: "Tensor", pairs: int) -> float:
    """The loss of the first stage at a trigger, without the norm, over always the same noises."""
    import torch

    from lord.backdoors.reversion import ENDS, Reversed
    from lord.models.pixel import training_schedule

    schedule, device = training_schedule(pipeline), pipeline.unet.device
    generator = torch.Generator().manual_seed(0)
    images, first, second = torch.randn((3, pairs, *mu.shape), generator=generator).to(device)
    last = schedule.config.num_train_timesteps
    times = torch.randint(last - ENDS, last, (pairs,), generator=generator).to(device)
    model = Reversed(pipeline.unet, schedule, mu.to(device), gamma.to(device))
    with torch.no_grad():
        return model.loss(images, times, torch.stack([first, second])).item()


def example(cell: Cell) -> Outcome:
    """Made-up numbers: the loss at the true trigger is above that at none."""
    number, count = Random(cell.name), cell.settings.points
    shares = [k / (count - 1) for k in range(count)]
    loss = [1.5 + share + 4 * share * (1 - share) + 0.1 * number.random() for share in shares]
    series = {"share": shares, "loss": loss, "loss_before": [1.5 + 40 * s * s for s in shares]}
    metrics = {"loss/none": loss[0], "loss/true": loss[-1], "norm/true": 0.1}
    for start in cell.settings.starts:
        metrics |= {f"loss/{start}": 1.4, f"norm/{start}": 0.05}
        metrics[f"start_cosine/{start}"] = 0.8 if start == "negative" else -0.8
        metrics[f"cosine/{start}"] = 0.7 if start == "negative" else 0.1
    return Outcome(metrics, series)


EXPERIMENT = Experiment(
    name="reversed_loss",
    title="whether the reversed loss is lowest at the true trigger",
    section=ReversedLoss,
    cells=cells,
    measure=measure,
    example=example,
    needs=("reversion",),
)
