"""When two things are as good: a claim that needs a test of its own.

A difference that is not significant shows nothing; few cells always give one. To be equivalent the
difference must be significantly above −margin and significantly below +margin: two one-sided t
tests, of which the worse p value counts [Schuirmann, A comparison of the two one-sided tests
procedure and the power approach for assessing the equivalence of average bioavailability, 1987].
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr


def equivalence_p_value(differences: Sequence[float], margin: float, effect: float = 1.0) -> float:
    """The p value of the claim that the mean of paired differences lies within ±margin.

    Args:
        differences: one number per cell, at least two.
        margin: what makes no difference, in the units of the differences.
        effect: their `lord.metrics.interval.design_effect`; 1 for independent cells.

    Raises:
        ValueError: fewer than two values, a value that is not finite, a margin that is not above 0,
            or an effect that leaves no two independent cells.
    """
    values = np.asarray(differences, float)
    if len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"a test needs at least two finite values, got {values.tolist()}")
    if not margin > 0:
        raise ValueError(f"margin: expected a number above 0, not {margin}")
    if not 1 <= effect < len(values):
        raise ValueError(f"effect must lie between 1 and the {len(values)} values, got {effect}")
    cells = len(values) / effect
    error = values.std(ddof=1) / math.sqrt(cells)
    inside = margin - abs(values.mean())
    if error == 0:
        return 0.0 if inside > 0 else 1.0
    return float(stdtr(cells - 1, -inside / error))
