"""Reversed triggers, found once for each model and kept for all that is done with them."""

import torch
from torch import Tensor

from lord.backdoors.reversion import Reversion, reverse
from lord.experiments.terd.chain.suspects import made_of, suspect_of
from lord.study.context import Context
from lord.study.experiment import Cell


def reversal_of(context: Context, cell: Cell) -> Reversion:
    """What is reversed out of the model that a cell is about, from the start of its settings."""
    asked, components = made_of(cell)
    asked["reversion"] = cell.settings.asked["reversion"]

    def make() -> dict[str, Tensor]:
        found = reverse(suspect_of(context, cell).pipeline, cell.settings.reversion)
        steps, path = zip(*found.path, strict=True)
        return {
            "mu": found.mu,
            "gamma": found.gamma,
            "steps": torch.tensor(steps),
            "path": torch.stack(path),
            "losses": torch.tensor(found.losses),
        }

    kept = context.once("reversal", asked, [*components, "detector:reversion"], make)
    path = list(zip(kept["steps"].tolist(), kept["path"], strict=True))
    return Reversion(kept["mu"], kept["gamma"], path, kept["losses"].tolist())
