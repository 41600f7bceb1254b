"""What TERD reverses out of a model, and whether inputs and models are told right with it."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from lord.experiments.sheet import made_up, rows
from lord.experiments.terd.protocol import of_group, suspect_cell, zoo
from lord.experiments.terd.tables import frontier_table, input_table, model_table
from lord.study.context import Context
from lord.study.experiment import Cell, Experiment, Outcome, Table
from lord.study.profile import Profile

if TYPE_CHECKING:
    from torch import Tensor


def cells(profile: Profile) -> Iterator[Cell]:
    """One cell for each model and each start."""
    protocol = profile["terd"]
    components = ("detector:reversion", "detector:likelihood_ratio")
    for group, suspect, seed in zoo(protocol):
        for start in protocol.starts:
            how = protocol.reversion.model_copy(update={"start": start})
            cell = suspect_cell(
                "reversion", protocol, group, suspect, seed, ("noises",), components
            )
            yield replace(
                cell,
                name=f"{cell.name}-{start}",
                coordinates={**cell.coordinates, "start": start},
                settings=cell.settings.also(reversion=how),
            )


def measure(context: Context, cell: Cell) -> Outcome:
    """Features of the reversed trigger, its distance to the true one, and rates on inputs.

    Of a clean model only benign inputs can be asked: whether they pass.
    """
    import torch

    from lord.backdoors.inputs import log_ratio
    from lord.backdoors.models import features
    from lord.experiments.terd.chain import suspects
    from lord.experiments.terd.chain.reversal import reversal_of

    found, count = reversal_of(context, cell), cell.settings.noises
    scanned = suspects.suspect_of(context, cell)
    mean, variance = features(found.mu, found.gamma)
    plain = suspects.plain_noises("inputs", count, scanned.pipeline)
    metrics = {
        "kl_mean": mean,
        "kl_variance": variance,
        "gamma": found.gamma.item(),
        "norm_found": found.mu.norm().item(),
        "steps": len(found.losses),
        "inputs": count,
        "benign": share(log_ratio(plain, found.mu, found.gamma) <= 0),
    }
    series = {
        "step": [step for step, _ in found.path],
        "norm": [mu.norm().item() for _, mu in found.path],
    }
    shown = [found.path[0][1], found.mu]
    if scanned.backdoor is not None:
        true = scanned.backdoor.mu
        # Other noises than the benign ones, so that each count stands for itself.
        triggered = scanned.backdoor.start(suspects.plain_noises("others", count, scanned.pipeline))
        metrics |= {
            "norm": true.norm().item(),
            "triggered": share(log_ratio(triggered, found.mu, found.gamma) > 0),
        }
        series["cosine"] = [
            torch.cosine_similarity(mu.flatten(), true.flatten(), 0).item() for _, mu in found.path
        ]
        series["relative_distance"] = [
            ((mu - true).norm() / true.norm()).item() for _, mu in found.path
        ]
        shown.append(true)
    return Outcome(metrics, series, rows(torch.stack(shown) / 2 + 0.5))


def share(told: "Tensor") -> float:
    """The share of noises that are told so."""
    return told.float().mean().item()


def example(cell: Cell) -> Outcome:
    """Made-up numbers: what is strong enough is found."""
    number, suspect = Random(cell.name), cell.settings.suspect
    found = suspect.infected and suspect.strength > 0.3
    metrics = {
        "kl_mean": (0.2 if found else 0.02) + 0.01 * number.random(),
        "kl_variance": (0.2 if found else 0.002) + 0.001 * number.random(),
        "gamma": 1.0,
        "norm_found": 20.0 if found else 5.0,
        "steps": 100,
        "inputs": 100,
        "benign": 1.0,
    }
    series = {"step": [50.0, 100.0], "norm": [10.0, metrics["norm_found"]]}
    if suspect.infected:
        metrics |= {
            "norm": 20 * suspect.strength,
            "triggered": 1.0 if found else 0.5,
        }
        series |= {"cosine": [0.3, 0.9], "relative_distance": [1.0, 0.3]}
    return Outcome(metrics, series, made_up(cell.name, 1, 32))


EXPERIMENT = Experiment(
    name="reversion",
    title="what is reversed out of a model, and whether inputs and models are told right with it",
    cells=cells,
    measure=measure,
    example=example,
    kept=lambda records: of_group(records, "reversion", "backdoored"),
    needs=("backdoors",),
    tables={
        "terd_inputs": Table(("backdoors", "reversion"), input_table, also=("input_rivals",)),
        "terd_models": Table(("backdoors", "reversion"), model_table, also=("elijah",)),
        "terd_frontier": Table(("backdoors", "reversion"), frontier_table, also=("elijah",)),
    },
)
