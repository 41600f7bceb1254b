"""Attacks compared, without a defence."""

from collections.abc import Sequence

import pandas as pd

from lord.attacks.settings import NOISE
from lord.experiments.lord.tables.conditions import (
    condition_rows,
    correlations_of,
    summaries,
    worse,
)
from lord.record import Record


def attack_table(records: Sequence[Record]) -> pd.DataFrame:
    """LoRAs without a defence: a row for each domain, attack, budget and number of steps.

    The column ``experiment`` tells the two comparisons apart: ``damage``, of attacks and budgets,
    and ``steps``, of how long ACE runs. The main table's cells take part, as far as they are of the
    same attacks, subjects and seeds.
    """
    rows = condition_rows(records, "main", "damage", "steps")
    rows = rows[rows["defence"] == "none"]
    places = pd.MultiIndex.from_frame(rows[["domain", "subject", "seed"]])
    keys = ["domain", "attack", "eps_levels", "steps", "rounds"]
    alike, parts = correlations_of(rows, keys), []
    for experiment in ("damage", "steps"):
        own = rows["kind"] == experiment
        chosen = rows["kind"].isin(("main", experiment)) & places.isin(places[own])
        if experiment == "steps":
            chosen &= rows["attack"].isin(("none", *rows["attack"][own]))
        if not chosen.any():
            continue
        table = summaries(rows[chosen], keys, alike)
        table["ssim"] = rows[chosen].groupby(keys, sort=False)["ssim"].mean().to_numpy()
        table.insert(0, "experiment", experiment)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def noise_margins(records: Sequence[Record]) -> pd.DataFrame:
    """By how much attacks are worse than noise of the same ε, on the same subjects and seeds.

    One row for each domain, attack, ε and metric: the mean difference, above 0 where the attack
    does more damage, with a 95 % interval if there are several cells (else NaN).
    """
    rows = condition_rows(records, "main", "damage")
    rows = rows[(rows["defence"] == "none") & (rows["attack"] != "none")]
    control = rows[rows["attack"] == NOISE]
    attacks = rows[rows["attack"] != NOISE]
    return worse(attacks, control, ["domain", "eps_levels"], ["attack"], "margin")
