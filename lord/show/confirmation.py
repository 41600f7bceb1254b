"""What new subjects and independent judges say of the main findings."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import PROPOSED
from lord.names import INDEPENDENT
from lord.record import Record
from lord.show.panels import grid, interval, legend
from lord.show.style import (
    ATTACK_NAMES,
    DEFENCE_NAMES,
    caveats,
    condition_colour,
    defence_name,
    mark,
    metric_keys,
    metric_name,
    number,
    styled,
    where_planned,
    with_interval,
)
from lord.show.tables import difference_table, in_book_order, plain_table
from lord.show.words import NOT_MEASURED, Answer, count, listed, share, verdict

BESIDE = 0.05
"""How far below a dot of new subjects that of the main table stands, where judges are 1 apart."""

COMPARISONS = ("ahead", "as good", "undecided", "behind")
"""What a judge may say of a defence beside another; see `tables.standing_table`."""

LIMITS = (-0.6, 1.6)
"""The shares that the figure has room for; of one beyond, the number stands at the edge."""

FIRST = INDEPENDENT[0]
"""The judge whose word stands first: it has seen none of the damage."""


@styled
def repaired(records: Sequence[Record], screened: Sequence[Record]) -> Figure:
    """The share of the damage of ACE that each defence repairs, by every judge.

    Of new subjects, filled, and of those of the main table, empty.

    Args:
        records: of ``confirmation`` and ``confirmation_scale``.
        screened: of ``main``.
    """
    table = _under_ace(records)
    domains = table["domain"].unique()
    before = _before(screened)
    defences = [name for name in DEFENCE_NAMES if name in set(table["defence"])]
    judges = tables.judges_of(records)
    height = len(judges) * (0.13 * len(defences) + 0.22) + 1.2
    figure, axes, places = grid(["closed"], domains, height, sharey=True)
    for panel, _, domain in places:
        rows = table[table["domain"] == domain]
        for name in rows.loc[~rows["told"], "metric"].unique():
            panel.text(0.5, judges.index(name), "no damage told", ha="center", va="center")
        for row in rows[rows["told"]].to_dict("records"):
            turn = (defences.index(row["defence"]) + 0.5) / len(defences) - 0.5
            place = judges.index(row["metric"]) + 0.8 * turn
            _draw(panel, row, place, before.get((domain, row["defence"], row["metric"])))
        for end in (0, 1):
            panel.axvline(end, color="black", linewidth=1, linestyle="--" if end else "-")
        panel.set(xlabel="damage repaired", xlim=LIMITS, ylim=(len(judges) - 0.5, -0.5))
        panel.xaxis.set_major_formatter("{x:.0%}")
        panel.grid(axis="y", visible=False)
    names = _names(records)
    axes[0, 0].set_yticks(range(len(judges)), [names[name] for name in judges])
    legend(figure)
    return mark(figure, records)


def _draw(
    panel: Axes, row: Mapping[str, Any], place: float, before: Mapping[str, float] | None
) -> None:
    """The share of one defence by one judge, and below it that of the main table."""
    colour, label = condition_colour("ace", row["defence"]), DEFENCE_NAMES[row["defence"]]
    interval(panel, row, "closed", place, colour, label=label)
    if not LIMITS[0] < row["closed"] < LIMITS[1]:
        low = row["closed"] < 0
        edge = {"ha": "left" if low else "right", "va": "center", "color": colour}
        panel.text(LIMITS[not low], place, f"{row['closed']:.0%}", fontsize=8, **edge)
    if before:
        interval(panel, before, "closed", place + BESIDE, colour, filled=False)


def confirmed(records: Sequence[Record]) -> Answer:
    """Does LoRD repair the damage of new subjects, by the judge whose word stands first?

    Args:
        records: of ``confirmation``.
    """
    if not records:
        return NOT_MEASURED
    table = _under_ace(records)
    rows = table[(table["defence"] == PROPOSED) & (table["metric"] == FIRST)]
    shares = [f"{share(row)} on {row['domain']}" for row in rows.to_dict("records")]
    name = _names(records)[FIRST]
    text = f"On {count(int(rows['subjects'].min()), 'new subject')} of each domain it repairs "
    text += f"{listed(shares)}, by {name}. That network has seen none of the damage."
    least = rows["closed"].min()
    number = f"at least {least:z.0%} repaired by {name}" if least == least else ""
    return Answer(verdict(rows["closed"]), number, text)


def _under_ace(records: Sequence[Record]) -> pd.DataFrame:
    """`tables.judge_table` of defences under ACE, and whether a judge has told its damage."""
    table = tables.judge_table(records)
    table = table[(table["attack"] == "ace") & (table["defence"] != "none")]
    return table.assign(told=table["closed"].notna() & ~(table["damage_low"] <= 0))


def _before(screened: Sequence[Record]) -> dict[tuple[str, str, str], dict[str, float]]:
    """What the main table says of a domain, a defence and a metric under ACE."""
    table = tables.screened(screened)
    rows = table[(table["attack"] == "ace") & table["closed"].notna()].to_dict("records")
    return {(row["domain"], row["defence"], row["metric"]): row for row in rows}


@where_planned
def judge_table(records: Sequence[Record]) -> Styler:
    """The mean of every judge in every condition, and the ends of its scale."""
    table = in_book_order(tables.judge_table(records))
    table["text"] = [with_interval(row, "value") for row in table.to_dict("records")]
    names = _names(records)
    heads = [
        table["domain"].rename(None),
        pd.Index([ATTACK_NAMES[attack] for attack in table["attack"]]),
        pd.Index(map(defence_name, table["defence"], table["treatment"])),
        table["metric"].map(names).rename(None),
    ]
    cells = table.set_index(heads)["text"].unstack(sort=False)
    ends = table.drop_duplicates(["domain", "metric"]).replace({"metric": names})
    ends = ends.set_index(["domain", "metric"])[["floor", "ceiling"]].map(number)
    ends = ends.rename(columns={"floor": "same subjects", "ceiling": "others"})
    scale = ends.stack().unstack("metric")[cells.columns]
    scale.index = [(domain, "pictures", whose) for domain, whose in scale.index]
    order = [(d, "pictures", w) for d in table["domain"].unique() for w in ends.columns]
    return plain_table(pd.concat([cells, scale.loc[order]]), records)


@where_planned
def standing_counts(records: Sequence[Record]) -> Styler:
    """By how many judges LoRD is ahead of every other condition, as good, behind, or neither.

    Args:
        records: of ``confirmation`` and ``confirmation_scale``.
    """
    table = tables.judged_standings(records)
    table = in_book_order(table[table["ours"] == PROPOSED])
    heads = [
        table["domain"].rename(None),
        table["attack"].map(ATTACK_NAMES).rename(None),
        pd.Index(map(defence_name, table["defence"], table["treatment"])),
    ]
    counts = table.groupby(heads)["verdict"].value_counts().unstack(fill_value=0)
    order = pd.MultiIndex.from_arrays(heads).unique()
    counts = counts.reindex(order).reindex(columns=COMPARISONS, fill_value=0)
    return plain_table(counts.map(str), records)


@where_planned
def standing_table(records: Sequence[Record]) -> Styler:
    """By how much each kind of LoRD is better than every other condition, by every judge.

    On the same subjects. An interval above 0 is marked as good, one below 0 as bad.

    Args:
        records: of ``confirmation`` and ``confirmation_scale``.
    """
    table = tables.judged_standings(records)
    table = table[table["ours"] == PROPOSED]
    marks = (table["verdict"] == "ahead", table["verdict"] == "behind")
    return difference_table(table, "lead", *marks, _keys(records), records)


@where_planned
def findings(
    records: Sequence[Record], screened: Sequence[Record], ours: str = PROPOSED
) -> Markdown:
    """In short: what a kind of LoRD repairs, and whether judges agree.

    Args:
        records: of ``confirmation`` and ``confirmation_scale``.
        screened: of ``main``.
    """
    table, before, names = _under_ace(records), _before(screened), _names(records)
    lines = [f"*{text}*" for text in caveats(records)]
    for domain, rows in table[table["defence"] == ours].groupby("domain", sort=False):
        own = rows.set_index("metric").to_dict("index")
        text = (
            f"- On {count(int(own[FIRST]['subjects']), 'new subject')} of {domain}, "
            f"{DEFENCE_NAMES[ours]} repairs {share(own[FIRST])} of the damage of ACE by "
            f"{names[FIRST]}. By {names['fid']} it repairs {share(own['fid'])}"
        )
        if other := before.get((domain, ours, "fid")):
            text += f"; the main table has {share(other)}"
        text += "."
        if len(told := rows[rows["told"]]):
            least = told.loc[told["closed"].idxmin(), "metric"]
            text += f" It repairs least by {names[least]}: {share(own[least])}."
        if blind := [names[name] for name in rows.loc[~rows["told"], "metric"]]:
            text += f" The damage cannot be told from none by {listed(blind)}."
        lines.append(text)
    ranks = tables.judges_agreement(records).set_index(["judge", "other"])["spearman"]
    ranks = [f"{rank:.2f}" for rank in ranks.loc[(FIRST, "fid")]]
    lines.append(
        f"- {names[FIRST]} saw no damage; {names['fid']} learned it. They rank the conditions with "
        f"a Spearman's ρ of {listed(ranks)}."
    )
    return Markdown("\n".join(lines))


def _keys(records: Sequence[Record]) -> dict[str, str]:
    """What each judge is called in records."""
    return metric_keys(records) | {name: name for name in INDEPENDENT}


def _names(records: Sequence[Record]) -> dict[str, str]:
    """What each judge is called."""
    return {name: metric_name(key) for name, key in _keys(records).items()}
