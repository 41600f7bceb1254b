"""The cells of the results as rows, and what their means and differences are worth."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache, wraps
from itertools import product
from operator import is_

import numpy as np
import pandas as pd

from lord.experiments.lord.protocol import PROPOSED, UNCHANGED
from lord.metrics.interval import design_effect, intraclass_correlation, mean_interval
from lord.names import HIGHER_IS_BETTER
from lord.record import Record

METRICS = {"fid": "_round_trip", "clip_iqa": "", "identity": ""}
"""What is measured in a cell, with what follows its networks in the record's name."""


class _TheSame(tuple):
    """Records, which are equal to the very same ones alone."""

    def __eq__(self, other: object) -> bool:
        return len(self) == len(other) and all(map(is_, self, other))

    def __hash__(self) -> int:
        return hash(tuple(map(id, self)))


def made_once(make: Callable[..., pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """Keep what is made of records, which never change: figures, tables and words ask again."""
    kept = lru_cache(maxsize=32)(make)

    @wraps(make)
    def table(records: Sequence[Record], *further: str) -> pd.DataFrame:
        return kept(_TheSame(records), *further).copy(deep=False)

    return table


def metric(record: Record, name: str) -> float:
    """``fid`` (against references after the VAE), ``clip_iqa`` or ``identity``, of any networks.

    NaN where it was not measured: no network knows the attributes of a hub model's pictures.
    """
    suffix = METRICS[name]
    keys = [k for k in record.metrics if k.startswith(name) and k.endswith(suffix)]
    return record.metrics[keys[0]] if keys else float("nan")


def selected_treatment(records: Sequence[Record], domain: str, defence: str = PROPOSED) -> str:
    """As `selected_treatments`, of one pair."""
    return selected_treatments(records, [(domain, defence)])[domain, defence]


def selected_treatments(
    records: Sequence[Record], pairs: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    """The test-time treatment with the lowest FID on stage-1 identities of the domain.

    Args:
        pairs: of a domain and a defence.

    Raises:
        LookupError: treatments of a defence have not been compared on its domain.
    """
    rows, found = condition_rows(records, "selection"), {}
    candidates = rows[rows["candidate"]] if len(rows) else rows
    for domain, defence in pairs:
        own = candidates
        if len(own):
            own = own[(own["domain"] == domain) & (own["defence"] == defence)]
        if not len(own):
            raise LookupError(f"no test-time treatment of {defence} has been selected for {domain}")
        found[domain, defence] = str(own.groupby("treatment")["fid"].mean().idxmin())
    return found


@made_once
def condition_rows(records: Sequence[Record], *experiments: str) -> pd.DataFrame:
    """One row for every record of some experiments: its condition, and the metrics.

    Rows of one ``cluster`` may come out alike: those of a subject, whatever the seed.
    """
    names = ("domain", "split", "subject", "seed", "defence", "treatment", "candidate")
    rows = []
    for record in records:
        if record.kind not in experiments:
            continue
        row = {key: record.settings[key] for key in names}
        attack = record.settings.get("attack", {"eps": 0, "steps": 0, "rounds": 1})
        scenario = record.settings.get("scenario", {})
        row |= {
            "kind": record.kind,
            "cluster": record.settings["subject"],
            "attack": record.settings["attack_name"],
            "eps_levels": round(attack["eps"] * 255, 6),
            "steps": attack["steps"] * attack["rounds"],
            "rounds": attack["rounds"],
            "rank": record.settings["finetune"]["rank"],
            "stage2_gate": scenario.get("stage2_gate", "learned"),
            "attacked_share": scenario.get("attacked_share", 1.0) if attack["eps"] else 0.0,
            "variant": record.settings.get("variant", UNCHANGED),
            "ssim": record.metrics["ssim"],
        }
        rows.append(row | {name: metric(record, name) for name in METRICS})
    return pd.DataFrame(rows)


def correlations_of(
    rows: pd.DataFrame, keys: list[str], metrics: Iterable[str] = METRICS
) -> dict[str, float]:
    """Of each metric, over the groups of rows that agree in the columns ``keys``."""
    groups = [cells for _, cells in rows.groupby(keys)]
    return {name: correlation_of((c[name], c["cluster"]) for c in groups) for name in metrics}


def correlation_of(groups: Iterable[tuple[pd.Series, pd.Series]]) -> float:
    """How alike the values of one cluster are, of groups of values with their clusters."""
    pairs = ((values.to_numpy(), clusters.to_numpy()) for values, clusters in groups)
    return intraclass_correlation(
        (values[known], clusters[known])
        for values, clusters in pairs
        for known in [~np.isnan(values)]
    )


def summaries(
    rows: pd.DataFrame, keys: list[str], correlation: Mapping[str, float]
) -> pd.DataFrame:
    """A row for every value of the columns ``keys``: means over cells (subject × seed).

    With 95 % intervals, and how many subjects and seeds there are.
    """
    table = []
    for key, cells in rows.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        for name in METRICS:
            row |= mean_with_interval(name, cells[name], cells["cluster"], correlation[name])
        counts = {f"{name}s": cells[name].nunique() for name in ("subject", "seed")}
        table.append(row | counts)
    return pd.DataFrame(table)


def mean_with_interval(
    name: str, values: pd.Series, clusters: pd.Series, correlation: float
) -> dict[str, float]:
    """The mean and the ends of its 95 % interval, NaN for one value alone; all NaN for none.

    Args:
        clusters: which cluster each value is of.
        correlation: of the values of one cluster.
    """
    known = values.notna().to_numpy()
    data, clusters = values.to_numpy()[known], clusters.to_numpy()[known]
    mean = low = high = float("nan")
    if len(data) > 1:
        _, low, high = mean_interval(data, design_effect(clusters, correlation))
    if len(data):
        mean = data.mean()
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def worse(
    rows: pd.DataFrame,
    reference: pd.DataFrame,
    shared: list[str],
    own: list[str],
    name: str,
    alike: Mapping[str, float] | None = None,
    metrics: Collection[str] = METRICS,
) -> pd.DataFrame:
    """By how much rows are worse than the reference on the same subject and seed.

    One row for each metric and each value of the columns ``shared``, in which row and reference
    agree, and ``own``: the mean difference under ``name``, above 0 where it is worse, with a 95 %
    interval if there are several cells (else NaN).

    Args:
        alike: the intraclass correlation of the differences; None: as estimated from them.
    """
    pairs, table = differences(rows, reference, shared, metrics), []
    alike = alike or correlations_of(pairs, [*shared, *own], metrics)
    for (key, cells), metric in product(pairs.groupby([*shared, *own], sort=False), metrics):
        if cells[metric].notna().any():
            head = dict(zip([*shared, *own], key, strict=True)) | {"metric": metric}
            values, clusters = cells[metric], cells["cluster"]
            table.append(head | mean_with_interval(name, values, clusters, alike[metric]))
    return pd.DataFrame(
        table, columns=[*shared, *own, "metric", name, f"{name}_low", f"{name}_high"]
    )


def differences(
    rows: pd.DataFrame,
    reference: pd.DataFrame,
    shared: list[str],
    metrics: Iterable[str] = METRICS,
) -> pd.DataFrame:
    """Rows with, for each metric, by how much they are worse than the reference beside them."""
    pairs = rows.merge(reference, on=[*shared, "subject", "seed"], suffixes=("", "_reference"))
    for metric in metrics:
        above = pairs[metric] - pairs[f"{metric}_reference"]
        pairs[metric] = -above if metric.startswith(HIGHER_IS_BETTER) else above
    return pairs


def mean_with_ends(cells: pd.DataFrame) -> dict[str, float]:
    """The mean of every metric, and its lowest and highest cell if there are several (else NaN)."""
    found = {}
    for name in METRICS:
        ends = cells[name].min(), cells[name].max()
        low, high = ends if len(cells) > 1 else (float("nan"), float("nan"))
        found |= {name: cells[name].mean(), f"{name}_low": low, f"{name}_high": high}
    return found
