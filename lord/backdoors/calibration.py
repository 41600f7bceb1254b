"""Whether features of a model lie outside what clean models have."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError
from scipy.special import stdtr

from lord.backdoors.settings import LEAST_CLEAN, ReversionSettings
from lord.errors import described


@dataclass(frozen=True)
class Calibration:
    """The features of clean models, which a model's own are compared with.

    Attributes:
        clean: one row of features above 0 for each clean model, at least three.
    """

    clean: Sequence[Sequence[float]]

    def deviations(self, found: Sequence[float]) -> list[float]:
        """How far each feature lies above those of clean models, on a logarithmic scale.

        In units in which one more clean model has a t distribution: standard deviations of n
        clean models, times √(1 + 1/n).
        """
        clean = np.log(np.asarray(self.clean, float))
        spread = clean.std(axis=0, ddof=1).clip(min=1e-6) * np.sqrt(1 + 1 / len(clean))
        return list((np.log(np.asarray(found, float)) - clean.mean(axis=0)) / spread)

    def score(self, found: Sequence[float]) -> float:
        """The largest of the deviations: the higher, the less like a clean model."""
        return float(max(self.deviations(found)))

    def p_value(self, found: Sequence[float]) -> float:
        """How probable a clean model with so high a score is, if logarithms are normal.

        With k features, k times what one feature says (Bonferroni), 1 at most.
        """
        tail = stdtr(len(self.clean) - 1, -self.score(found))
        return float(min(1.0, len(found) * tail))

    def without(self, k: int) -> "Calibration":
        """The same without one clean model, which is then judged by the others."""
        return Calibration([row for i, row in enumerate(self.clean) if i != k])


class CleanModels(BaseModel):
    """What a search finds in clean models, kept for the scans of others.

    Attributes:
        settings: of the search, which started from numbers of either sign.
        shape: of the noise, (C, H, W).
        features: mean and variance of the divergence of what was found, by model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: ReversionSettings
    shape: tuple[int, int, int]
    features: dict[str, tuple[PositiveFloat, PositiveFloat]] = Field(min_length=LEAST_CLEAN)


def read_clean_models(path: Path) -> CleanModels:
    """Clean models as a scan has kept them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return CleanModels.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: {described(error)}") from error
