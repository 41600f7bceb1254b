"""The main table, and what is derived from it: leads, harm, treatments, shares of gaps closed."""

from collections.abc import Collection, Sequence
from itertools import product

import pandas as pd

from lord.experiments.lord.protocol import AS_TRAINED, PROPOSED, VARIANTS
from lord.experiments.lord.tables.conditions import (
    METRICS,
    condition_rows,
    correlation_of,
    correlations_of,
    differences,
    made_once,
    selected_treatments,
    summaries,
    worse,
)
from lord.experiments.lord.tables.costs import defence_costs
from lord.metrics.interval import design_effect, ratio_interval
from lord.names import HIGHER_IS_BETTER
from lord.record import Record

TOLERATED = 0.1
"""The harm to clean photographs that is tolerated, as a share of the damage of ACE."""

CONDITION = ["domain", "attack", "defence", "treatment", "selected"]
"""The columns that name a row of the main table."""


def correlations(records: Sequence[Record]) -> dict[str, float]:
    """The intraclass correlation of each metric: how alike seeds of one subject come out.

    Over the rows of the main table; `lord.metrics.interval` says what it is for.
    """
    return correlations_of(main_rows(records), CONDITION)


def main_table(records: Sequence[Record]) -> pd.DataFrame:
    """The main table: one row per domain, attack and defence.

    A defence with several test-time treatments has a row for itself as trained and a row for the
    treatment that was selected, if that is another; the column ``selected`` tells them apart.
    """
    rows = main_rows(records)
    return summaries(rows, CONDITION, correlations_of(rows, CONDITION))


def main_table_with_costs(records: Sequence[Record]) -> pd.DataFrame:
    """The main table, with what each defence takes where that was measured."""
    table = main_table(records)
    if {"performance", "cost", "stage1"} <= {record.kind for record in records}:
        table = table.merge(defence_costs(records), how="left", on="defence")
    return table


@made_once
def main_rows(records: Sequence[Record]) -> pd.DataFrame:
    """The cells of the main table, see there."""
    rows = _with_choice(records)
    as_trained = rows["treatment"] == rows["defence"].map(AS_TRAINED)
    return rows[rows["selected"] | as_trained]


def _with_choice(records: Sequence[Record]) -> pd.DataFrame:
    """All cells of ``main``; ``selected`` are those with the treatment chosen, if any."""
    rows = condition_rows(records, "main")
    several = rows["defence"].isin(AS_TRAINED)
    pairs = list(zip(rows["domain"], rows["defence"], strict=True))
    chosen = selected_treatments(records, {pair for pair in pairs if pair[1] in AS_TRAINED})
    best = [chosen.get(pair) for pair in pairs]
    rows["selected"] = ~several | (rows["treatment"] == pd.Series(best, index=rows.index))
    return rows


def rival_table(records: Sequence[Record], ours: str = PROPOSED) -> pd.DataFrame:
    """By how much one defence, as selected, is better than each other one.

    On the same subjects and seeds. One row for each domain, attack, rival and metric: the mean
    difference ``lead``, above 0 where it is the better, with a 95 % interval if there are several
    cells (else NaN).
    """
    rows, shared, rival = main_rows(records), ["domain", "attack"], ["defence", "treatment"]
    lords = rows[rows["defence"].isin((PROPOSED, *VARIANTS)) & rows["selected"]]
    # Over the rivals of all of these, so that two of them compare alike whichever is ours.
    alike = correlations_of(
        differences(rows, lords, shared), [*shared, *rival, "defence_reference"]
    )
    own = rows["defence"] == ours
    return worse(rows[~own], lords[lords["defence"] == ours], shared, rival, "lead", alike)


def clean_harm(records: Sequence[Record]) -> pd.DataFrame:
    """By how much a LoRA on clean photographs is worse behind a defence than without.

    On the same subjects and seeds. One row for each domain, defence, treatment (chosen or not) and
    metric, the attack being ``none``: the mean difference ``harm``, above 0 where the defence does
    harm, with a 95 % interval, and the ``margin``, a tenth of what ACE does to a LoRA without a
    defence. A defence is not inferior to none if the interval ends below the margin.
    """
    rows = _with_choice(records)
    undefended = rows[rows["defence"] == "none"]
    clean, attacked = (undefended[undefended["attack"] == name] for name in ("none", "ace"))
    defended = rows[(rows["attack"] == "none") & (rows["defence"] != "none")]
    own = ["defence", "treatment", "selected"]
    table = worse(defended, clean, ["domain", "attack"], own, "harm")
    damage = worse(attacked, clean, ["domain"], [], "margin")
    damage["margin"] *= TOLERATED
    return table.merge(damage[["domain", "metric", "margin"]], on=["domain", "metric"])


def treatment_table(records: Sequence[Record], experiment: str = "main") -> pd.DataFrame:
    """One row per domain and test-time treatment of LoRD on photographs attacked by ACE.

    Of the evaluated subjects or, of the experiment ``selection``, of the identities that decide.
    """
    rows = condition_rows(records, experiment)
    rows = rows[(rows["attack"] == "ace") & rows["defence"].isin((PROPOSED, *VARIANTS))]
    keys = ["domain", "defence", "treatment"]
    table = summaries(rows, keys, correlations(records))
    pairs = list(zip(table["domain"], table["defence"], strict=True))
    chosen = selected_treatments(records, set(pairs))
    best = [chosen[pair] for pair in pairs]
    table.insert(len(keys), "selected", table["treatment"] == best)
    return table


def gaps_closed(records: Sequence[Record]) -> pd.DataFrame:
    """Share of the damage that a defence repairs: (attacked − defended) / (attacked − clean).

    Of means over the same subjects and seeds. One row for each domain, attack, defence, treatment
    and metric: the share ``closed``, NaN where the attack did no damage, with a 95 % interval if
    there are several cells and the damage is surely above 0 (else NaN).
    """
    return shares_repaired(main_rows(records), METRICS)


def shares_repaired(rows: pd.DataFrame, metrics: Collection[str]) -> pd.DataFrame:
    """As `gaps_closed`, of some rows, by the metrics in these columns."""
    places = ["domain", "subject", "seed"]
    undefended = rows[rows["defence"] == "none"]
    clean = undefended[undefended["attack"] == "none"]
    pairs = rows[(rows["attack"] != "none") & (rows["defence"] != "none")]
    pairs = pairs.merge(clean[[*places, *metrics]], on=places, suffixes=("", "_clean"))
    places.append("attack")
    pairs = pairs.merge(undefended[[*places, *metrics]], on=places, suffixes=("", "_attacked"))
    for metric in metrics:
        sign = -1 if metric.startswith(HIGHER_IS_BETTER) else 1
        attacked = sign * pairs[f"{metric}_attacked"]
        pairs[f"{metric}_damage"] = attacked - sign * pairs[f"{metric}_clean"]
        pairs[f"{metric}_repair"] = attacked - sign * pairs[metric]
    groups = list(pairs.groupby(CONDITION, sort=False))
    # The interval of a ratio comes from what the share of the means leaves of each cell's repair.
    alike = {
        m: correlation_of(
            (cells[f"{m}_repair"] - _share(cells, m) * cells[f"{m}_damage"], cells["cluster"])
            for _, cells in groups
        )
        for m in metrics
    }
    table = []
    for (key, cells), metric in product(groups, metrics):
        closed, low, high = _share(cells, metric), float("nan"), float("nan")
        if closed == closed and len(cells) > 1:
            effect = design_effect(cells["cluster"], alike[metric])
            means = cells[f"{metric}_repair"], cells[f"{metric}_damage"]
            _, low, high = ratio_interval(*means, effect)
        head = dict(zip(CONDITION, key, strict=True)) | {"metric": metric}
        table.append(head | {"closed": closed, "closed_low": low, "closed_high": high})
    return pd.DataFrame(table)


def _share(cells: pd.DataFrame, metric: str) -> float:
    """The mean repair as a share of the mean damage, NaN where there was none."""
    damage = cells[f"{metric}_damage"].mean()
    return cells[f"{metric}_repair"].mean() / damage if damage > 0 else float("nan")
