"""How likely an image is to be attacked, from what the gates of a LoRD defence say about it.

Each gate was trained to tell clean inputs from attacked ones. At high noise none can, so the gates
are asked at the lower half of the timesteps; their mean logit is the image's score. A logistic
curve, fitted on pairs that the gates were not trained on, makes it a probability (Platt, 1999).
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit, logit
from torch import Tensor

from lord.defences.gates import gates_by_timestep
from lord.files import settle, write_text
from lord.models.diffusion import Pipeline
from lord.seeding import derive_seed

AUDIT_FILE = "audit.json"

STEEPEST = 10**6
"""A calibration that was fitted has no larger numbers: scores are means of logits."""


@dataclass(frozen=True)
class Calibration:
    """P(attacked | score s) = σ(slope · s + intercept), where half of the images are attacked."""

    slope: float
    intercept: float

    def probability(self, scores: Tensor, prior: float = 0.5) -> Tensor:
        """Of each image, shape (N,), where a share ``prior`` of the images is attacked.

        Raises:
            ValueError: ``prior`` is not between 0 and 1.
        """
        if not 0 < prior < 1:
            raise ValueError(f"prior: expected a probability between 0 and 1, not {prior}")
        return torch.sigmoid(self.slope * scores + self.intercept + float(logit(prior)))


def gate_scores(
    pipeline: Pipeline, images: Tensor, captions: Sequence[str], levels: int = 10
) -> Tensor:
    """The mean logit of all gates over the lower half of the timesteps, shape (N,), on the CPU.

    Every image gets the same noise, so that its score does not depend on its companions.

    Args:
        images: float, shape (N, 3, H, W) in [0, 1].
        levels: how many timesteps.

    Raises:
        ValueError: bad images or captions, or the pipeline has no LoRD adapter.
        FloatingPointError: a score is not finite.
    """

    def seeds(time: int) -> list[int]:
        return [derive_seed(0, "audit", time)] * len(images)

    total = torch.zeros(len(images))
    for _, gates in gates_by_timestep(pipeline, images, captions, levels, seeds, share=0.5):
        layers = [passes[0].float().mean(1) for passes in gates.logits.values()]
        total += torch.stack(layers).mean(0).cpu() / levels
    if not total.isfinite().all():
        raise FloatingPointError("the gates' answers are not finite; --dtype float32 may help")
    return total


def calibrate(clean: Tensor, attacked: Tensor) -> Calibration:
    """The logistic curve of greatest likelihood for scores of clean and of attacked images.

    As many of the one as of the other. Platt's targets, (n + 1) / (n + 2) and 1 / (n + 2) in the
    place of 1 and 0, keep it finite where the scores do not overlap.

    Raises:
        ValueError: scores of one kind are missing, or of the one there are more than of the other.
    """
    if len(clean) != len(attacked) or not len(clean):
        raise ValueError("expected scores of as many clean as attacked images, at least of one")
    scores = torch.cat((clean, attacked)).double().numpy()
    low = 1 / (len(clean) + 2)
    targets = np.repeat([low, 1 - low], len(clean))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        logits = parameters[0] * scores + parameters[1]
        residual = expit(logits) - targets
        value = np.logaddexp(0, logits) - targets * logits
        return value.mean(), np.array([(residual * scores).mean(), residual.mean()])

    slope, intercept = minimize(loss, [1.0, 0.0], jac=True).x
    return Calibration(float(slope), float(intercept))


def save_calibration(calibration: Calibration, folder: str | Path) -> None:
    """Keep it with the defence that it belongs to."""
    write_text(Path(folder) / AUDIT_FILE, json.dumps(asdict(calibration), indent=2) + "\n")


def load_calibration(folder: str | Path) -> Calibration:
    """The calibration of a defence.

    Raises:
        FileNotFoundError: the defence has none.
        ValueError: the file is broken.
    """
    settle(folder)
    path = Path(folder) / AUDIT_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file. `lord defend` writes it for a LoRD that learned from enough "
            "images to hold some back"
        )
    try:
        calibration = Calibration(**json.loads(path.read_text(encoding="utf-8")))
        if not all(abs(value) <= STEEPEST for value in asdict(calibration).values()):  # nor is NaN
            raise ValueError(f"slope and intercept must be numbers within ±{STEEPEST:,}")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a calibration ({error})") from None
    return calibration
