"""What gates can tell: attacked images from clean ones, in every layer at every noise level."""

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from lord.defences.gates import gates_by_timestep
from lord.seeding import derive_seed

LEVELS = 20
BINS = 10


def auc(clean: Tensor, attacked: Tensor) -> float:
    """How often an attacked image scores above a clean one, shape (N,) each."""
    target = torch.cat((torch.zeros(len(clean)), torch.ones(len(attacked)))).long()
    scores = torch.cat((clean, attacked)).double()
    low, high = scores.aminmax()  # torchmetrics takes numbers in [0, 1] as they are
    return binary_auroc((scores - low) / (high - low).clamp(min=1e-12), target).item()


def reliability(probabilities: Tensor, clean: int, method: str) -> dict[str, list[float]]:
    """Mean probability and true share of attacked images, in bins of the probability.

    The first ``clean`` images are clean, the others attacked.
    """
    bins = (probabilities * BINS).long().clamp(max=BINS - 1)
    truth = torch.arange(len(probabilities)) >= clean
    filled = [k for k in range(BINS) if (bins == k).any()]
    return {
        f"said/{method}": [probabilities[bins == k].mean().item() for k in filled],
        f"true/{method}": [truth[bins == k].float().mean().item() for k in filled],
        f"count/{method}": [(bins == k).sum().item() for k in filled],
    }


def layer_curves(
    pipeline: StableDiffusionPipeline, clean: Tensor, attacked: Tensor, prompts: list[str]
) -> dict[str, list[float]]:
    """For every layer, ``auc/<layer>``: how well its gate tells attacked images, by timestep."""

    def seeds(time: int) -> list[int]:
        return [derive_seed("layers", time, k) for k in range(len(clean))] * 2

    curves: dict[str, list[float]] = {"timestep": []}
    both = torch.cat((clean, attacked))
    for time, gates in gates_by_timestep(pipeline, both, prompts * 2, LEVELS, seeds):
        curves["timestep"].append(float(time))
        for name, (logits,) in gates.logits.items():
            values = logits.float().mean(1).cpu()
            found = auc(values[: len(clean)], values[len(clean) :])
            curves.setdefault(f"auc/{name}", []).append(found)
    return curves
