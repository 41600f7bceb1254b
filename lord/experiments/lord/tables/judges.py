"""New subjects by several judges, some of which have seen none of the damage."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from lord.experiments.lord.protocol import PROPOSED, TRAINED, VARIANTS
from lord.experiments.lord.tables.conditions import (
    METRICS,
    condition_rows,
    correlations_of,
    mean_with_interval,
    worse,
)
from lord.experiments.lord.tables.main import CONDITION, shares_repaired
from lord.experiments.lord.tables.standing import standings
from lord.names import INDEPENDENT
from lord.record import Record

ENDS = {"same": "floor", "other": "ceiling"}
"""What the experiment ``confirmation_scale`` measures, and what it is to a judge."""


def judges_of(records: Sequence[Record]) -> list[str]:
    """The judges asked in every record of ``confirmation``, first those that saw no damage."""
    own = [record.metrics for record in records if record.kind == "confirmation"]
    asked = [name for name in INDEPENDENT if all(name in metrics for metrics in own)]
    return [*asked, *METRICS]


def judged_rows(records: Sequence[Record]) -> pd.DataFrame:
    """One row for every record of ``confirmation``: its condition, and what each judge says.

    Each subject has one seed, so that its cells are its own; those with one training of stage 1
    are a cluster.
    """
    own = [record for record in records if record.kind == "confirmation"]
    trainings = {
        record.settings["subject"]: record.settings[TRAINED[defence][0]]["seed"]
        for record in own
        if (defence := record.settings["defence"]) in TRAINED
    }
    rows = condition_rows(own, "confirmation")
    for name in set(judges_of(records)) - set(METRICS):
        rows[name] = [record.metrics[name] for record in own]
    return rows.assign(selected=True, cluster=rows["subject"].replace(trainings))


def judge_table(records: Sequence[Record]) -> pd.DataFrame:
    """A row for every condition and judge: the mean over subjects, and what it is worth.

    With 95 % intervals: the mean ``value``; and of a defended condition the share ``closed`` of the
    damage that it repairs, see `shares_repaired`. The ``luck`` of a trained defence is the share of
    the variance, over all of them, that lies between trainings of stage 1. The ``floor`` is what as
    many clean pictures of the same subjects score, the ``ceiling`` what those of others do. The
    ``damage`` is by how much an attack alone is worse than none, on the same subjects: a judge that
    cannot tell it from 0 has nothing to call repaired.
    """
    rows = judged_rows(records)
    judges = judges_of(records)
    luck = correlations_of(rows[rows["defence"].isin(TRAINED)], CONDITION, judges)
    scale = {
        (record.settings["domain"], record.settings["subject"]): record.metrics
        for record in records
        if record.kind == "confirmation_scale"
    }
    table = []
    for key, cells in rows.groupby(CONDITION, sort=False):
        head = dict(zip(CONDITION, key, strict=True)) | {"subjects": cells["subject"].nunique()}
        places = list(zip(cells["domain"], cells["subject"], strict=True))
        for name in judges:
            alike = luck[name] if head["defence"] in TRAINED else 0.0
            row = head | {"metric": name, "luck": alike}
            row |= mean_with_interval("value", cells[name], cells["cluster"], alike)
            for end, column in ENDS.items():
                row[column] = np.mean([_end(scale.get(place, {}), end, name) for place in places])
            table.append(row)
    gaps = shares_repaired(rows, judges)
    table = pd.DataFrame(table).merge(gaps, how="left", on=[*CONDITION, "metric"])
    return table.merge(_damage(rows, judges), how="left", on=["domain", "attack", "metric"])


def _damage(rows: pd.DataFrame, judges: Sequence[str]) -> pd.DataFrame:
    """What each attack alone does, by every judge; see `worse`."""
    undefended = rows[rows["defence"] == "none"]
    clean = undefended["attack"] == "none"
    independent = dict.fromkeys(judges, 0.0)  # no training of stage 1 took part
    found = [undefended[~clean], undefended[clean], ["domain"], ["attack"]]
    return worse(*found, "damage", independent, judges)


def screened(records: Sequence[Record]) -> pd.DataFrame:
    """What the main table says of the defences treated alike: `shares_repaired` of its subjects."""
    rows = condition_rows(records, "main")
    rows = rows[rows["treatment"].isin(("none", "dropped"))]
    return shares_repaired(rows.assign(selected=True), METRICS)


def _end(metrics: Mapping[str, float], end: str, name: str) -> float:
    """What a judge says in a record of the scale, by any networks; NaN where there is none."""
    head, tail = f"{end}/{name}", METRICS.get(name, "")
    found = [v for key, v in metrics.items() if key.startswith(head) and key.endswith(tail)]
    return found[0] if found else float("nan")


def judged_standings(records: Sequence[Record]) -> pd.DataFrame:
    """Each kind of LoRD, ``ours``, beside every rival, by every judge; see `standing_table`."""
    rows = judged_rows(records)
    ours = [name for name in (PROPOSED, *VARIANTS) if name in set(rows["defence"])]
    found = []
    for name in ours:
        own = rows["defence"] == name
        found.append(standings(rows[~own], rows[own], judges_of(records)).assign(ours=name))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def judges_agreement(records: Sequence[Record]) -> pd.DataFrame:
    """How alike two judges rank the conditions of a domain: a row for each pair, Spearman's ρ.

    Of two that run against each other, as a distance and a quality do, it is negative.
    """
    found = []
    for domain, rows in judge_table(records).groupby("domain", sort=False):
        values = rows.pivot(index=CONDITION[1:], columns="metric", values="value")
        for first, second in combinations(judges_of(records), 2):
            ranks = values[[first, second]].dropna().rank()
            rank = ranks[first].corr(ranks[second]) if len(ranks) > 2 else float("nan")
            found.append({"domain": domain, "judge": first, "other": second, "spearman": rank})
    return pd.DataFrame(found)
