"""Variants beside the unchanged condition."""

from collections.abc import Sequence

import pandas as pd

from lord.experiments.lord.tables.conditions import condition_rows, mean_with_ends
from lord.experiments.lord.tables.costs import costs_of
from lord.names import HIGHER_IS_BETTER
from lord.record import Record


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
    for key, cells in rows.groupby(["variant", *condition], sort=False):
        head = dict(zip(["variant", *condition], key, strict=True))
        head |= cells[["rank", "stage2_gate"]].iloc[0].to_dict()
        head |= {"cells": len(cells)}
        own = rows[(rows["domain"] == head["domain"]) & (rows["variant"] == head["variant"])]
        clean, attacked = (
            _undefended(own, main[main["domain"] == head["domain"]], name, cells)
            for name in ("none", head["attack"])
        )
        unchanged = same[(same[condition] == list(key[1:])).all(axis=1)].set_index(cell)
        cells = cells.set_index(cell)
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


def _undefended(
    own: pd.DataFrame, main: pd.DataFrame, attack: str, cells: pd.DataFrame
) -> pd.Series:
    """Mean metrics of undefended LoRAs under an attack, on the subjects and seeds of ``cells``."""
    for rows in (own, main):
        rows = rows[(rows["attack"] == attack) & (rows["defence"] == "none")]
        places = rows.set_index(["subject", "seed"]).index
        wanted = cells.set_index(["subject", "seed"]).index
        if wanted.isin(places).all():
            return rows[places.isin(wanted)][["fid", "clip_iqa"]].mean()
    return pd.Series({"fid": float("nan"), "clip_iqa": float("nan")})
