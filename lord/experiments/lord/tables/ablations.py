"""Variants beside the unchanged condition."""

from collections.abc import Sequence

import pandas as pd

from lord.experiments.lord.tables.conditions import condition_rows, made_once, mean_with_ends
from lord.experiments.lord.tables.costs import costs_of
from lord.names import HIGHER_IS_BETTER
from lord.record import Record


@made_once
def ablation_table(records: Sequence[Record], experiment: str) -> pd.DataFrame:
    """One row for every domain, variant, attack, defence and treatment of an ablation.

    The variant ``UNCHANGED`` are the same conditions, subjects and seeds in the main table or, for
    an ablation on the identities of stage 1 that decide, in the experiment ``selection``. An
    ablation has too few cells for an interval: the columns ``_low`` and ``_high`` are the lowest
    and the highest cell. Further columns, for FID and CLIP-IQA:

    - ``_clean`` and ``_attacked``, the means of LoRAs without a defence on clean photographs and
      under the attack: those of the same variant where it has them, else those of the main table,
      on the same subjects and seeds; NaN on the identities of stage 1;
    - ``_closed``, the share of that damage that the defence, if any, repairs (see `gaps_closed`);
    - ``_worse``, in how many of the ``cells`` it is worse than the unchanged variant with the same
      treatment; NaN where that is not there.

    Where their costs were measured, also ``adapter_thousands``, the parameters of all adapters, and
    ``step_seconds``, of a step of stage 2.
    """
    rows = condition_rows(records, experiment)
    main = condition_rows(records, "main" if "evaluation" in set(rows["split"]) else "selection")
    condition, cell = ["domain", "attack", "defence", "treatment"], ["subject", "seed"]
    asked = pd.MultiIndex.from_frame(rows[[*condition, *cell]])
    same = main[pd.MultiIndex.from_frame(main[[*condition, *cell]]).isin(asked)]
    rows, table = pd.concat((same, rows)), []
    own, usual = (_undefended(part, ["variant"] * k) for k, part in ((1, rows), (0, main)))
    before = {key: cells.set_index(cell) for key, cells in same.groupby(condition, sort=False)}
    for key, cells in rows.groupby(["variant", *condition], sort=False):
        head = dict(zip(["variant", *condition], key, strict=True))
        head |= cells[["rank", "stage2_gate"]].iloc[0].to_dict()
        head |= {"cells": len(cells)}
        cells = cells.set_index(cell)
        clean, attacked = (
            _mean_of(
                cells.index,
                own.get((head["domain"], name, head["variant"])),
                usual.get((head["domain"], name)),
            )
            for name in ("none", head["attack"])
        )
        unchanged = before.get(key[1:], cells[:0])
        head |= mean_with_ends(cells)
        for name in ("fid", "clip_iqa"):
            sign = -1 if name.startswith(HIGHER_IS_BETTER) else 1
            gap = attacked[name] - clean[name]
            repairs = head["defence"] != "none" and sign * gap > 0
            share = (attacked[name] - cells[name].mean()) / gap if repairs else float("nan")
            above = sign * (cells[name] - unchanged[name].reindex(cells.index))
            worse = (above > 0).sum() if above.notna().all() else float("nan")
            head |= {f"{name}_clean": clean[name], f"{name}_attacked": attacked[name]}
            head |= {f"{name}_closed": share, f"{name}_worse": worse}
        table.append(head)
    timed = [record for record in records if record.kind == f"{experiment}_cost"]
    costs = [row for record in timed for row in costs_of(record)]
    if not costs:
        return pd.DataFrame(table)
    costs = pd.DataFrame(costs)
    costs[["variant", "defence"]] = costs.pop("step").str.split("/", expand=True)
    return pd.DataFrame(table).merge(costs, how="left", on=["variant", "defence"])


def reading_table(records: Sequence[Record]) -> pd.DataFrame:
    """The `ablation_table` of the readings of the paper, with the three choices as columns."""
    table = ablation_table(records, "readings")
    # The last choice may have a point of its own, as 0.5.
    choices = table.pop("variant").str.split(".", n=2, expand=True).reindex(columns=range(3))
    for place, name in enumerate(("target", "trains", "gate")):
        table.insert(place, name, choices[place])
    return table


def dose_table(records: Sequence[Record], experiment: str, dose: str) -> pd.DataFrame:
    """Metrics against how much was attacked: one row for every domain, defence, treatment and dose.

    The variants of an ablation that change the dose of its first attack, between the same cells of
    the main table: the unchanged attack, and clean photographs, where the dose is 0.

    Args:
        dose: ``"attacked_share"``, of the photographs, or ``"eps_levels"``.
    """
    rows, main = condition_rows(records, experiment), condition_rows(records, "main")
    rows = rows[rows["attack"] == next(name for name in rows["attack"] if name != "none")]
    usual = main[main["attack"].isin(rows["attack"])]
    ends = pd.concat((usual, main[main["attack"] == "none"]))
    cell = ["domain", "subject", "seed", "defence", "treatment"]
    asked = pd.MultiIndex.from_frame(rows[cell])
    ends = ends[pd.MultiIndex.from_frame(ends[cell]).isin(asked)]
    between = rows[~rows[dose].isin(usual[dose])]
    doses = pd.concat((ends, between)).sort_values(dose, kind="stable")
    keys = ["domain", "defence", "treatment", dose]
    table = [
        dict(zip(keys, key, strict=True)) | mean_with_ends(cells)
        for key, cells in doses.groupby(keys, sort=False)
    ]
    return pd.DataFrame(table)


def _undefended(rows: pd.DataFrame, further: list[str]) -> dict[tuple[str, ...], pd.DataFrame]:
    """FID and CLIP-IQA of LoRAs without a defence by subject and seed.

    For each domain and attack, and each value of the ``further`` columns.
    """
    rows = rows[rows["defence"] == "none"]
    groups = rows.groupby(["domain", "attack", *further], sort=False)
    return {k: part.set_index(["subject", "seed"])[["fid", "clip_iqa"]] for k, part in groups}


def _mean_of(places: pd.Index, *tables: pd.DataFrame | None) -> pd.Series:
    """The mean over some subjects and seeds, of the first table that has them all, else NaN."""
    for table in tables:
        if table is not None and places.isin(table.index).all():
            return table[table.index.isin(places)].mean()
    return pd.Series({"fid": float("nan"), "clip_iqa": float("nan")})
