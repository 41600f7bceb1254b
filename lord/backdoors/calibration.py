"""Whether features of a model lie outside what clean models have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr


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
