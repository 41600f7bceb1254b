"""Answers about LoRD from the main table: damage, repair, the gate, rivals and variants."""

from collections.abc import Mapping, Sequence

import pandas as pd

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import AS_TRAINED, PROPOSED, VARIANTS
from lord.record import Record
from lord.show.cards import chosen_treatments
from lord.show.results import JUDGED
from lord.show.style import (
    ATTACK_NAMES,
    DEFENCE_NAMES,
    higher_is_better,
    metric_keys,
    metric_name,
    with_interval,
)
from lord.show.words import NOT_MEASURED, Answer, capitalised, listed, share, share_range, verdict

CLEAN, ATTACKED = ("none", "none"), ("ace", "none")

# The attacks under which defences are compared, as far as there are any: in the published study
# every defence faces these.
COMPARED = ("ace", "ace_plus")

Cell = Mapping[str, float]


def damage(table: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """Is a LoRA on attacked photographs worse than one on clean photographs?"""
    keys, domains = metric_keys(records), _by_domain(table)
    worse, parts = [], []
    for name in JUDGED:
        changes = []
        for domain, cells in domains.items():
            clean, attacked = cells[CLEAN], cells[ATTACKED]
            worse.append(is_worse(attacked, clean, name))
            changes.append(
                f"from {with_interval(clean, name)} to {with_interval(attacked, name)} on {domain}"
            )
        parts.append(f"{metric_name(keys[name])} goes {listed(changes)}.")
    verdict = "Yes" if all(worse) else "In part" if any(worse) else "Not in this run"
    times = min(cells[ATTACKED]["fid"] / cells[CLEAN]["fid"] for cells in domains.values())
    number = f"FID at least {times:.1f} times as high"
    return Answer(verdict, number, f"With it {' With it '.join(parts)}")


def repair(gaps: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """How far does LoRD bring the metrics back?"""
    gaps = gaps[(gaps["attack"] == "ace") & (gaps["defence"] == PROPOSED) & gaps["selected"]]
    gaps = gaps[gaps["metric"].isin(JUDGED)]
    closed = [_closed(rows, records) for _, rows in gaps.groupby("metric", sort=False)]
    return Answer(
        verdict(gaps["closed"]),
        f"at least {gaps['closed'].min():z.0%} repaired",
        f"With the treatment chosen on other identities it closes {'. It closes '.join(closed)}.",
    )


def _closed(gaps: pd.DataFrame, records: Sequence[Record]) -> str:
    """The shares of one metric, on every domain."""
    metric = metric_name(metric_keys(records)[gaps["metric"].iloc[0]])
    shares = [f"{share(row)} on {row['domain']}" for row in gaps.to_dict("records")]
    return f"by {metric} {listed(shares)}"


def gate(table: pd.DataFrame, gaps: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """Which treatment was chosen, and what the gate does as trained.

    It is not trusted where LoRD as trained has a worse FID under ACE than as chosen, everywhere.
    """
    ours = table[(table["attack"] == "ace") & (table["defence"] == PROPOSED)]
    left = ours["treatment"] == AS_TRAINED[PROPOSED]
    worse = []
    for _, rows in ours.groupby("domain"):
        as_trained, best = rows[left.loc[rows.index]], rows[rows["selected"]]
        worse.append(len(as_trained) and is_worse(as_trained.iloc[0], best.iloc[0], "fid"))
    verdict = "No" if all(worse) else "Undecided"
    chosen = chosen_treatments(records, list(_by_domain(table)))
    text, number = f"Chosen on identities that are not evaluated: {chosen}.", ""
    trained = gaps[(gaps["attack"] == "ace") & (gaps["defence"] == PROPOSED)]
    trained = trained[trained["treatment"] == AS_TRAINED[PROPOSED]]
    if len(trained):
        trained = trained[trained["metric"] == "fid"]
        text += f" As trained, it closes {_closed(trained, records)}."
        least = trained["closed"].min()
        number = f"{f'{least:z.0%}' if least > 0 else 'nothing'} repaired at worst"
    return Answer(verdict, number, text)


def rivals(records: Sequence[Record]) -> Answer:
    """Which defences LoRD is ahead of or behind, and which each of its variants is."""
    keys, leads = metric_keys(records), tables.rival_table(records)
    against = _standing(leads)
    if not len(against):
        return NOT_MEASURED
    attacks = [ATTACK_NAMES[name] for name in COMPARED if name in set(leads["attack"])]
    ahead = against["everywhere"]
    verdict = "Of all" if ahead.all() else "Of some" if ahead.any() else "Of none everywhere"
    metrics = [metric_name(keys[name]) for name in JUDGED]
    text = (
        f"Compared under {listed(attacks)}, by {listed(metrics)}, on the same subjects and seeds."
    )
    if leads["lead_low"].notna().any():
        text += " A difference counts if its interval does not contain 0."
    text += _ahead_and_behind(PROPOSED, against)
    for variant in VARIANTS:
        if len(of_variant := _standing(tables.rival_table(records, variant))):
            text += _ahead_and_behind(variant, of_variant)
    return Answer(verdict, f"surely ahead of {ahead.sum()} of {len(against)}", text)


def trained_rival(records: Sequence[Record]) -> Answer:
    """Whether LoRD is ahead of adversarial training, as `rivals` compares them."""
    against = _standing(tables.rival_table(records))
    if "adversarial" not in against.index:
        return NOT_MEASURED
    place = against.loc["adversarial"]
    verdict = "Yes" if place["everywhere"] else "In part" if place["ahead"] else "No"
    return Answer(verdict, "in some respects behind it" if place["behind"] else "", "")


def _standing(leads: pd.DataFrame) -> pd.DataFrame:
    """A row for every rival of a defence, with three truth values.

    The defence is ahead of it under every attack of `COMPARED`, in every domain and metric
    (``everywhere``), in at least one (``ahead``), or behind it in at least one (``behind``).

    Args:
        leads: a `tables.rival_table`.
    """
    # A LoRA alone and variants of LoRD are no rivals.
    leads = leads[leads["attack"].isin(COMPARED) & leads["metric"].isin(JUDGED)]
    leads = leads[~leads["defence"].isin(("none", PROPOSED, *VARIANTS))]
    leads = leads.assign(
        ahead=leads["lead_low"].fillna(leads["lead"]) > 0,
        behind=leads["lead_high"].fillna(leads["lead"]) < 0,
    )
    # A rival counts with the better of its treatments.
    against = leads.groupby(["defence", "attack", "domain", "metric"], sort=False)
    against = against.agg({"ahead": "all", "behind": "any"}).groupby("defence", sort=False)
    return against.any().assign(everywhere=against["ahead"].all())


def _ahead_and_behind(defence: str, against: pd.DataFrame) -> str:
    """The rows of `_standing` of a defence, in sentences."""
    groups = {
        "everywhere": against["everywhere"],
        "in some respects": against["ahead"] & ~against["everywhere"],
        "nowhere": ~against["ahead"],
    }
    said = [f"{words} ahead of {_defences(who)}" for words, who in groups.items() if who.any()]
    behind = against["behind"]
    said.append(f"in some respects behind {_defences(behind)}" if behind.any() else "behind none")
    return f" {capitalised(DEFENCE_NAMES[defence])} is {'. It is '.join(said)}."


def _defences(which: pd.Series) -> str:
    return listed([DEFENCE_NAMES[name] for name in DEFENCE_NAMES if which.get(name)])


def variants(gaps: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """What variants of LoRD repair beside it, each at the treatment that was chosen for it."""
    gaps = gaps[gaps["selected"] & gaps["metric"].isin(JUDGED)]
    places = ["attack", "domain", "metric"]
    closed = gaps.pivot(index=places, columns="defence", values="closed")
    variants = [name for name in VARIANTS if name in closed]
    closed = closed.reindex(columns=[PROPOSED, *variants]).dropna(subset=[PROPOSED])
    closed = closed[closed[variants].notna().any(axis=1)]
    if not len(closed):
        return NOT_MEASURED
    ahead = [(closed[name] > closed[PROPOSED])[closed[name].notna()] for name in variants]
    verdict = "Yes" if any(a.all() for a in ahead) else "In part" if any(map(any, ahead)) else "No"
    said = []
    for attack in (name for name in ATTACK_NAMES if name in closed.index.unique("attack")):
        rows = closed.xs(attack).dropna(axis="columns", how="all")
        metrics = [name for name in JUDGED if name in rows.index.unique("metric")]
        for name in rows:
            shares = [share_range(rows.xs(metric, level="metric")[name]) for metric in metrics]
            said.append(
                f" Under {ATTACK_NAMES[attack]} {DEFENCE_NAMES[name]} closes {listed(shares)}."
            )
    names = listed([f"by {metric_name(metric_keys(records)[name])}" for name in JUDGED])
    return Answer(
        verdict,
        f"at least {closed[variants].min().max():z.0%} repaired by its best variant",
        f"Shares are {names}, each from domain to domain.{''.join(said)}",
    )


def is_worse(cell: Cell, baseline: Cell, name: str) -> bool:
    """Whether a metric is worse than a baseline, with intervals that do not overlap if any."""
    near, far = (f"{name}_low", f"{name}_high")
    if higher_is_better(name):
        cell, baseline = baseline, cell
    if cell[near] != cell[near]:  # one cell, no interval
        near = far = name
    return bool(cell[near] > baseline[far])


def _by_domain(table: pd.DataFrame) -> dict[str, dict[tuple[str, str], Cell]]:
    """The rows of the main table, as selected, under domain and (attack, defence)."""
    cells: dict[str, dict[tuple[str, str], Cell]] = {}
    for row in table[table["selected"]].to_dict("records"):
        cells.setdefault(row["domain"], {})[row["attack"], row["defence"]] = row
    return cells
