"""The main table by judges that have seen none of the damage, on the scale of clean pictures."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from lord.experiments.lord.tables.conditions import condition_rows
from lord.record import Record

JUDGES = {
    "fid": "fid_embedded_round_trip",
    "fid_imagenet": "fid_imagenet",
    "kid_imagenet": "kid_imagenet",
    "ms_ssim_distance": "ms_ssim_distance",
}
"""Distances of samples, each with its name in a record; the first judge learned the damage."""

ENDS = {"same": "floor", "other": "ceiling"}
"""What the experiment ``scale`` measures, and what it is to a distance."""


def judge_table(records: Sequence[Record]) -> pd.DataFrame:
    """A row for every condition of the main table: each distance, with its floor and ceiling.

    All are means over the same subjects and seeds. The floor is what as many clean pictures of the
    same subject score, the ceiling what those of another subject do. Empty where the records know
    no independent judge.
    """
    measured = [r for r in records if r.kind == "main" and "fid_imagenet" in r.metrics]
    if not measured:
        return pd.DataFrame()
    rows = condition_rows(measured, "main")
    ends = {
        (record.settings["domain"], record.settings["subject"]): record.metrics
        for record in records
        if record.kind == "scale"
    }
    places = list(zip(rows["domain"], rows["subject"], strict=True))
    for name, key in JUDGES.items():
        rows[name] = [record.metrics.get(key, np.nan) for record in measured]
        for end, column in ENDS.items():
            values = [ends.get(place, {}).get(f"{end}/{key}", np.nan) for place in places]
            rows[f"{name}_{column}"] = values
    columns = [column for name in JUDGES for column in (name, f"{name}_floor", f"{name}_ceiling")]
    groups = rows.groupby(["domain", "attack", "defence", "treatment"], sort=False)
    table = groups[columns].mean()
    table.insert(0, "cells", groups.size())
    return table.reset_index()


def agreement(table: pd.DataFrame) -> pd.DataFrame:
    """How alike two judges rank the conditions of a domain: a row for each pair, Spearman's ρ.

    Args:
        table: from `judge_table`.
    """
    found = []
    for domain, rows in table.groupby("domain", sort=False):
        for first, second in combinations(JUDGES, 2):
            known = rows[[first, second]].dropna()
            ranks = known.rank()
            rank = ranks[first].corr(ranks[second]) if len(known) > 2 else np.nan
            found.append({"domain": domain, "judge": first, "other": second, "spearman": rank})
    return pd.DataFrame(found)
