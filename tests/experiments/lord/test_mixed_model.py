"""The published intervals beside those of a mixed model, which statsmodels fits."""

from itertools import chain

import numpy as np
import pytest
from scipy.stats import t as student
from statsmodels.regression.mixed_linear_model import MixedLM

from lord.experiments.lord.protocol import PROPOSED
from lord.experiments.lord.tables import METRICS, main_rows
from lord.experiments.lord.tables.conditions import (
    correlations_of,
    differences,
    mean_with_interval,
)
from lord.metrics.interval import LEVEL, design_effect
from lord.study.run import results_root
from lord.study.store import Store

ROW = ["domain", "defence", "treatment"]


@pytest.fixture(scope="module")
def pairs():
    """By how much every rival is worse than LoRD under ACE, on each subject and seed."""
    store = Store(results_root() / "full")
    records = [store.records(name).values() for name in ("main", "selection")]
    rows = main_rows(list(chain(*records)))
    rows = rows[rows["attack"] == "ace"]
    own = rows["defence"] == PROPOSED
    return differences(rows[~own], rows[own & rows["selected"]], ["domain", "attack"])


@pytest.mark.parametrize("metric", METRICS)
def test_a_mixed_model_confirms_the_intervals_of_leads(pairs, metric):
    """One model of all rows: a mean for each, and an effect of each subject in each.

    A row is divided by its deviation first, so that one variance serves all.
    """
    known = pairs.dropna(subset=[metric])
    row = known.groupby(ROW, sort=False).ngroup().to_numpy()
    values = known[metric] / known.groupby(ROW, sort=False)[metric].transform("std")
    subjects = [f"{place} {subject}" for place, subject in zip(row, known["subject"], strict=True)]
    fitted = MixedLM(values.to_numpy(), np.eye(row.max() + 1)[row], subjects).fit()
    between = float(fitted.cov_re[0, 0])
    alike = correlations_of(known, ROW)[metric]
    assert between / (between + fitted.scale) == pytest.approx(alike, abs=0.15)
    errors = []
    for _, cells in known.groupby(ROW, sort=False):
        found = mean_with_interval("lead", cells[metric], cells["cluster"], alike)
        freedom = len(cells) / design_effect(cells["cluster"], alike) - 1
        half = (found["lead_high"] - found["lead_low"]) / 2 / cells[metric].std()
        errors.append(half / student.ppf((1 + LEVEL) / 2, freedom))
    assert np.mean(errors) == pytest.approx(np.mean(fitted.bse_fe), rel=0.15)
