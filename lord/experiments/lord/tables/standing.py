"""Where a defence stands against each rival: ahead, behind, as good, or undecided."""

from collections.abc import Collection, Mapping, Sequence
from itertools import product

import pandas as pd

from lord.experiments.lord.protocol import PROPOSED
from lord.experiments.lord.tables.conditions import (
    METRICS,
    correlations_of,
    differences,
    mean_with_interval,
    worse,
)
from lord.experiments.lord.tables.main import TOLERATED, main_rows
from lord.metrics.equivalence import equivalence_p_value
from lord.metrics.interval import LEVEL, design_effect
from lord.record import Record


def standing_table(records: Sequence[Record], ours: str = PROPOSED) -> pd.DataFrame:
    """One defence, as selected, beside every other one on the same subjects and seeds.

    One row for each domain, attack, rival and metric: the mean paired difference ``lead``, above 0
    where ours is the better, with a 95 % interval; the ``margin``, a tenth of what ACE does to a
    LoRA without a defence; ``equivalent_p``, of two one-sided tests; and the ``verdict``:

    - ``ahead`` or ``behind``: the interval does not contain 0, by the same rule for both;
    - ``as good``: it contains 0, and the difference is significantly within the margin;
    - ``undecided``: neither, or there are too few cells to say.
    """
    rows = main_rows(records)
    own = rows["defence"] == ours
    return standings(rows[~own], rows[own & rows["selected"]], METRICS)


def standings(rows: pd.DataFrame, chosen: pd.DataFrame, metrics: Collection[str]) -> pd.DataFrame:
    """As `standing_table`: chosen rows beside those of rivals, by the metrics in these columns."""
    undefended = rows[rows["defence"] == "none"]
    clean, attacked = (undefended[undefended["attack"] == name] for name in ("none", "ace"))
    damage = worse(attacked, clean, ["domain"], [], "margin", metrics=metrics)
    damage = damage.set_index(["domain", "metric"])
    keys = ["domain", "attack", "defence", "treatment"]
    pairs = differences(rows, chosen, keys[:2], metrics)
    alike, table = correlations_of(pairs, keys, metrics), []
    for (key, cells), metric in product(pairs.groupby(keys, sort=False), metrics):
        if (known := cells.dropna(subset=[metric])).empty:
            continue
        head = dict(zip(keys, key, strict=True)) | {"metric": metric}
        # Worse than ours is what the difference says of a rival, and so what ours leads by.
        lead = mean_with_interval("lead", known[metric], known["cluster"], alike[metric])
        margin = TOLERATED * damage["margin"].get((head["domain"], metric), float("nan"))
        p_value = float("nan")
        effect = design_effect(known["cluster"], alike[metric])
        if margin > 0 and len(known) / effect > 1:
            p_value = equivalence_p_value(known[metric], margin, effect)
        found = {"margin": margin, "equivalent_p": p_value}
        table.append(head | lead | found | {"verdict": _verdict(lead, p_value)})
    return pd.DataFrame(table)


def _verdict(lead: Mapping[str, float], p_value: float) -> str:
    """By an interval and a p value, any of which may be NaN."""
    if lead["lead_low"] > 0:
        return "ahead"
    if lead["lead_high"] < 0:
        return "behind"
    return "as good" if p_value < 1 - LEVEL else "undecided"
