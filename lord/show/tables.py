"""Tables as the book shows them: means with intervals, differences, costs."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from lord.experiments.lord import tables
from lord.record import Record
from lord.show.style import (
    ATTACK_NAMES,
    DEFENCE_NAMES,
    LeftOut,
    caveats,
    defence_name,
    higher_is_better,
    metric_keys,
    metric_label,
    metric_name,
    number,
    where_planned,
    with_interval,
)


def difference_table(
    table: pd.DataFrame,
    name: str,
    good: pd.Series,
    bad: pd.Series,
    keys: Mapping[str, str],
    records: Sequence[Record],
) -> Styler:
    """The column ``name``, paired differences with intervals, under each metric.

    Args:
        good: whether a row is marked as good.
        bad: whether it is marked as bad.
        keys: what the metrics of the table are called in records.

    Raises:
        LeftOut: nothing was compared.
    """
    if table.empty:
        raise LeftOut
    table = in_book_order(
        table.assign(
            text=[with_interval(row, name) for row in table.to_dict("records")],
            mark=np.select([good, bad], ["winner", "loser"], ""),
            metric=[metric_name(keys[metric]) for metric in table["metric"]],
        )
    )
    rows = table.set_index(
        [
            table["domain"].rename(None),
            pd.Index([ATTACK_NAMES[attack] for attack in table["attack"]]),
            pd.Index(map(defence_name, table["defence"], table["treatment"])),
            table["metric"].rename(None),
        ]
    )
    cells = rows[["text", "mark"]].unstack(sort=False, fill_value="")
    return _styled_table(cells["text"], cells["mark"], records)


def in_book_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows sorted by domain, attack and defence, otherwise as they were."""
    orders = {"defence": DEFENCE_NAMES, "attack": ATTACK_NAMES, "domain": table["domain"].unique()}
    keys = [[list(order).index(v) for v in table[column]] for column, order in orders.items()]
    return table.iloc[np.lexsort(keys)].reset_index(drop=True)


@where_planned
def cost_table(records: Sequence[Record]) -> Styler:
    """How a step with a defence compares with the same without.

    Args:
        records: among them that of cost.
    """
    if all(record.kind != "cost" for record in records):
        raise LeftOut
    table = tables.performance_table(records)
    table = table[(table["experiment"] == "cost") & ~table["step"].isin(DEFENCE_NAMES)]
    shown = pd.DataFrame(
        {
            "seconds": table["seconds"].map("{:.3f}".format),
            "× without": ["" if np.isnan(x) else f"{x:.2f}" for x in table["times"]],
        }
    ).set_index(pd.Index(list(table["step"])))
    return plain_table(shown, records)


@where_planned
def defence_cost_table(records: Sequence[Record]) -> Styler:
    """What each defence takes before a LoRA can learn behind it.

    Args:
        records: of cost, performance and stage1.
    """
    if all(record.kind != "cost" for record in records):
        raise LeftOut
    table = tables.defence_costs(records)
    table = table.sort_values("defence", key=lambda names: names.map(list(DEFENCE_NAMES).index))
    shown = pd.DataFrame(
        {
            "seconds": table["defence_seconds"].map(number),
            "for": table["defence_for"].map("a {}".format),
            "peak memory, GB": (table["defence_memory_mb"] / 1000).map("{:.2f}".format),
        }
    ).set_index(pd.Index(list(map(DEFENCE_NAMES.get, table["defence"]))))
    return plain_table(shown, records)


@where_planned
def rank_cost_table(costs: Sequence[Record], compared: Sequence[Record]) -> Styler:
    """For every rank the parameters of all adapters, and the seconds of a step of stage 2.

    Args:
        costs: of rank_cost.
        compared: of rank and main, which tell the rank of each variant.
    """
    table = tables.ablation_table([*costs, *compared], "rank")
    table = table.drop_duplicates(["rank", "defence"]).sort_values("rank", kind="stable")
    cells = {}
    for defence, words in (("none", "LoRA"), ("lord", "LoRA and LoRD")):
        rows = table[table["defence"] == defence].set_index("rank")
        cells[f"{words}: thousand parameters"] = rows["adapter_thousands"].map("{:.0f}".format)
        cells[f"{words}: seconds"] = rows["step_seconds"].map("{:.3f}".format)
    shown = pd.DataFrame(cells).rename(index="rank {}".format)
    return plain_table(shown, costs)


def metric_table(
    table: pd.DataFrame,
    heads: Sequence[Sequence[str]],
    records: Sequence[Record],
    competing: pd.Series,
    among: Sequence[str] = ("domain",),
    worst: bool = False,
    further: Mapping[str, pd.Series] | None = None,
) -> Styler:
    """Means with intervals, a row for every row of a table, grouped by domain.

    Args:
        heads: the words that name the rows after the domain, from the general to the particular.
        competing: of these rows the best one of each metric is highlighted, once for all rows that
            agree in the columns ``among``.
        worst: the worst one is, instead.
        further: columns beside the metrics.
    """
    keys = metric_keys(records)
    rows = pd.MultiIndex.from_arrays([table["domain"], *heads], names=[None] * (len(heads) + 1))
    cells, classes = pd.DataFrame(index=rows), pd.DataFrame(index=rows)
    for name, key in keys.items():
        cells[metric_label(key)] = [with_interval(row, name) for row in table.to_dict("records")]
        ranked = table[competing].groupby(list(among))[name]
        best = ranked.idxmax() if higher_is_better(key) != worst else ranked.idxmin()
        classes[metric_label(key)] = np.where(table.index.isin(best), "winner", "")
    for name, values in (further or {}).items():
        cells[name], classes[name] = values.to_numpy(), ""
    return _styled_table(cells, classes, records)


def plain_table(cells: pd.DataFrame, records: Sequence[Record]) -> Styler:
    """A table of texts with nothing highlighted."""
    return _styled_table(cells, cells.map(lambda _: ""), records)


def _styled_table(cells: pd.DataFrame, classes: pd.DataFrame, records: Sequence[Record]) -> Styler:
    """A table of texts as the book shows it, with the caveats of the records above."""
    winner = {"selector": "td.winner", "props": "font-weight: 700; background: rgba(46,160,67,.22)"}
    loser = {"selector": "td.loser", "props": "background: rgba(213,94,0,.22)"}
    left = {
        "selector": "th.row_heading",
        "props": "text-align: left; vertical-align: top; font-weight: 400",
    }
    small = {"selector": "", "props": "font-size: 0.85em"}
    whole = {"selector": "td", "props": "white-space: nowrap"}  # an interval in one piece
    styles = [small, whole, winner, loser, left]
    if cells.index.nlevels > 1:
        # What rows share is written upright beside them, which leaves the width to the numbers, and
        # a line begins each group.
        shared = [f"th.row_heading.level{level}" for level in range(cells.index.nlevels - 1)]
        upright = "writing-mode: vertical-rl; white-space: nowrap"
        styles.append({"selector": ", ".join(shared), "props": upright})
        line = {"selector": f"tbody tr:has({shared[-1]}) > *", "props": "border-top: 1px solid"}
        styles.append(line)
    # Themes know tables of the class "dataframe", and leave other ones white in the dark.
    styler = cells.style.set_table_attributes('class="dataframe"').set_td_classes(classes)
    # Names come from profiles and records, which are anybody's.
    styler.format(escape="html")
    for axis in ("index", "columns"):
        styler.format_index(escape="html", axis=axis)
    styler.set_table_styles(styles)
    warnings = caveats(records)
    return styler.set_caption(escape(" ".join(warnings))) if warnings else styler
