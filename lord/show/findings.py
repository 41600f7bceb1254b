"""What was found, in words: Markdown for the pages of the book, written from the records."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from IPython.display import HTML, Markdown

from lord.record import Record
from lord.show.cards import chosen_treatments
from lord.show.results import in_book_order, metric_keys, result_records
from lord.show.style import (
    ATTACK_NAMES,
    DEFENCE_NAMES,
    LEFT_OUT,
    caveats,
    defence_name,
    higher_is_better,
    metric_name,
    treatment_name,
    with_interval,
)
from lord.study import tables
from lord.study.profile import DEFENCES, OURS, TRAINED, UNCHANGED
from lord.study.run import results_root, run

# The metrics on which ACE and LoRD are judged.
JUDGED = ("fid", "clip_iqa")

CLEAN, ATTACKED, DEFENDED = ("none", "none"), ("ace", "none"), ("ace", OURS)

Cell = Mapping[str, float]


def summary(profile: str) -> str:
    """The answers to the questions of the book's first page, with their numbers.

    Raises:
        FileNotFoundError: records of the profile are missing.
    """
    records = result_records(profile)
    table = tables.main_table(records)
    warnings = []
    for title, text in (caveat.split(": ") for caveat in caveats(records)):
        warnings.append(f":::{{admonition}} {title}\n:class: warning\n\n{text.capitalize()}\n:::\n")
    answers = [
        _damage(table, records),
        _repair(table, records),
        _gate(records),
        _rivals(records),
        *_strangers(table, records),
        *_knowing(run(profile, "adaptive", compute=False, results=results_root()), records),
    ]
    subjects, seeds = table["subjects"].max(), table["seeds"].max()
    cells = f"{_count(subjects, 'subject')} and {_count(seeds, 'seed')} in each domain"
    intervals = "no intervals" if subjects * seeds == 1 else "95 % intervals in brackets"
    lines = [f"{place}. {answer}" for place, answer in enumerate(answers, start=1)]
    return "\n".join(
        [*warnings, *lines, "", f"Profile `{Path(profile).stem}`: {cells}, {intervals}.", ""]
    )


def _damage(table: pd.DataFrame, records: Sequence[Record]) -> str:
    """Is a LoRA on attacked photographs worse than one on clean photographs?"""
    keys = metric_keys(records)
    worse, parts = [], []
    for domain, cells in _by_domain(table).items():
        changes = []
        for name in JUDGED:
            clean, attacked = cells[CLEAN], cells[ATTACKED]
            worse.append(is_worse(attacked, clean, name))
            changes.append(
                f"{metric_name(keys[name])} from {_text(clean, name)} to {_text(attacked, name)}"
            )
        parts.append(f"on {domain} it takes {' and '.join(changes)}")
    verdict = "Yes" if all(worse) else "In part" if any(worse) else "Not in this run"
    return f"**Does ACE ruin a LoRA? {verdict}:** {'; '.join(parts)}."


def _repair(table: pd.DataFrame, records: Sequence[Record]) -> str:
    """How far does LoRD bring the metrics back?"""
    keys = metric_keys(records)
    gaps = tables.gaps_closed(table)
    chosen = gaps["selected"] & (gaps["attack"] == "ace") & (gaps["defence"] == OURS)
    gaps = gaps[chosen].set_index(["domain", "metric"])["closed"]
    parts = []
    for domain, cells in _by_domain(table).items():
        shares = []
        for name in JUDGED:
            gap = f"the {metric_name(keys[name])} gap (to {_text(cells[DEFENDED], name)})"
            if harm(cells[ATTACKED][name], cells[CLEAN][name], name) > 0:
                shares.append(f"{gaps[domain, name]:.0%} of {gap}")
            else:
                shares.append(f"nothing, as ACE opened no {metric_name(keys[name])} gap")
        parts.append(f"closes {' and '.join(shares)} on {domain}")
    fid = tables.gaps_closed(table).dropna()
    fid = fid[(fid["attack"] == "ace") & (fid["metric"] == "fid")]
    said = []
    for defence in reversed(TRAINED):
        own = fid[(fid["defence"] == defence) & ~((defence == OURS) & fid["selected"])]
        for treatment, rows in own.groupby("treatment", sort=False):
            shares = [f"{gap['closed']:.0%} on {gap['domain']}" for _, gap in rows.iterrows()]
            said.append(f"{defence_name(defence, treatment)}, {' and '.join(shares)}")
    treatment = chosen_treatments(records, list(_by_domain(table)))
    text = (
        "**Does LoRD repair it?** Trained on attacked photographs, LoRD "
        f"({treatment} while sampling) {'; '.join(parts)}."
    )
    if said:
        text += f" Of the {metric_name(keys['fid'])} gap close: {'; '.join(said)}."
    return text


def _gate(records: Sequence[Record]) -> str:
    """Which treatment was chosen, and how it compares with the gate as trained and with none."""
    table = tables.treatment_table(records)
    table = table[table["defence"] == OURS].set_index(["domain", "treatment"])
    domains = list(table.index.unique("domain"))
    parts = []
    for domain in domains:
        rows = table.loc[domain]
        shown = dict.fromkeys((tables.selected_treatment(records, domain), "learned", "lambda=0"))
        values = [
            f"{_text(rows.loc[treatment], 'fid')} ({treatment_name(treatment)})"
            for treatment in shown
            if treatment in rows.index
        ]
        parts.append(f"{' against '.join(values)} on {domain}")
    return (
        "**What should be done with the gate at test time?** Chosen on identities that are not "
        f"evaluated: {chosen_treatments(records, domains)}. The "
        f"{metric_name(metric_keys(records)['fid'])} is {'; '.join(parts)}. "
        "{doc}`notebooks/09_lord_stage2` compares treatments, {doc}`notebooks/13_lambda` explains "
        "them."
    )


def _rivals(records: Sequence[Record]) -> str:
    """Which defences LoRD is ahead of or behind, on the same subjects and seeds, under ACE."""
    keys, leads = metric_keys(records), tables.rival_table(records)
    # A LoRA alone and a variant of LoRD are no rivals.
    leads = leads[(leads["attack"] == "ace") & ~leads["defence"].isin(("none", "lord_wide"))]
    leads = leads.assign(
        ahead=leads["lead_low"].fillna(leads["lead"]) > 0,
        behind=leads["lead_high"].fillna(leads["lead"]) < 0,
    )
    parts = []
    for (domain, name), rows in leads[leads["metric"].isin(JUDGED)].groupby(
        ["domain", "metric"], sort=False
    ):
        # A rival counts with the better of its treatments.
        rivals = rows.groupby("defence", sort=False).agg({"ahead": "all", "behind": "any"})
        rivals = rivals.loc[[rival for rival in DEFENCE_NAMES if rival in rivals.index]]
        text = f"{domain}, {metric_name(keys[name])}: ahead of {rivals['ahead'].sum()} of "
        text += str(len(rivals))
        undecided = rivals[~rivals["ahead"] & ~rivals["behind"]]
        for words, which in (
            ("behind", rivals[rivals["behind"]]),
            ("undecided against", undecided),
        ):
            if len(which):
                text += f", {words} {', '.join(DEFENCE_NAMES[rival] for rival in which.index)}"
        parts.append(text)
    return (
        "**Is LoRD ahead of other defences against ACE?** On the same subjects and seeds, and "
        "counting a lead only if its interval does not contain 0: "
        f"{'; '.join(parts)}."
    )


def _strangers(table: pd.DataFrame, records: Sequence[Record]) -> list[str]:
    """How defences do against the other attacks of the study, if there are any."""
    said = stranger_shares(table)
    if not said:
        return []
    name = metric_name(metric_keys(records)["fid"])
    text = f"**Does it hold against other attacks?** {_seen(records)} Of the {name} gap close: "
    return [text + f"{'; '.join(said)}. {{doc}}`notebooks/15_transfer` looks further."]


def stranger_findings(profile: str) -> Markdown | HTML:
    """For each defence that faces more than ACE, in words: how much it repairs of each attack."""
    records = result_records(profile)
    said = stranger_shares(tables.main_table(records))
    if not said:
        return HTML(LEFT_OUT)
    name = metric_name(metric_keys(records)["fid"])
    basis = f"{_seen(records)} Of the {name} gap that an attack opens close, behind"
    return Markdown("\n".join([basis, "", *(f"- {text}" for text in said)]))


def stranger_shares(table: pd.DataFrame) -> list[str]:
    """How much of the FID gap each defence closes under the attacks other than ACE, as chosen.

    Args:
        table: the main table.
    """
    gaps = tables.gaps_closed(table).dropna()
    gaps = gaps[gaps["selected"] & (gaps["metric"] == "fid") & (gaps["attack"] != "ace")]
    said = []
    for defence in (name for name in reversed(DEFENCES) if name in set(gaps["defence"])):
        shares = [
            f"on {domain} "
            + ", ".join(
                f"{g['closed']:.0%} ({ATTACK_NAMES[g['attack']]})" for _, g in part.iterrows()
            )
            for domain, part in gaps[gaps["defence"] == defence].groupby("domain", sort=False)
        ]
        said.append(f"{DEFENCE_NAMES[defence]} {', '.join(shares)}")
    return said


def _seen(records: Sequence[Record]) -> str:
    """Which attacks trained defences have learned from, in a sentence."""
    trained = {record.settings["defence"]: record.settings for record in records}
    seen = {trained[d][TRAINED[d][1]]["attack"]["method"] for d in TRAINED if d in trained}
    return f"Trained defences have seen {' and '.join(sorted(map(ATTACK_NAMES.get, seen)))} alone."


def _knowing(adaptive: Sequence[Record], records: Sequence[Record]) -> list[str]:
    """How our defence does against attackers who know it, if there are any."""
    if not adaptive:
        return []
    table = tables.ablation_table([*adaptive, *records], "adaptive").dropna(subset=["fid_closed"])
    attackers, said = table["variant"].nunique() - 1, []
    for attack, cells in in_book_order(table).groupby("attack", sort=False):
        shares = []
        for domain, rows in cells.groupby("domain", sort=False):
            knowing = rows["variant"] != UNCHANGED
            worst = rows.loc[knowing, "fid_closed"].min()
            usual = rows.loc[~knowing, "fid_closed"].item()
            shares.append(f"{worst:.0%} on {domain} (instead of {usual:.0%})")
        said.append(f"under {ATTACK_NAMES[attack]} {' and '.join(shares)}")
    name = metric_name(metric_keys(records)["fid"])
    text = "**Does it hold against an attacker who knows it?** With the worst of "
    cells = f"{_count(table['cells'].max(), 'cell')} of each domain, the worst picked afterwards, "
    cells += f"LoRD {' or '.join(map(treatment_name, table['treatment'].unique()))}"
    text += f"{attackers} such attackers, of the {name} gap close: {'; '.join(said)} ({cells}). "
    return [text + "{doc}`notebooks/16_adaptive` has them all."] if said else []


def harm(value: float, baseline: float, name: str) -> float:
    """By how much a metric is worse than a baseline; negative if it is better."""
    return baseline - value if higher_is_better(name) else value - baseline


def is_worse(cell: Cell, baseline: Cell, name: str) -> bool:
    """Whether a metric is worse than a baseline, with intervals that do not overlap if any."""
    low, high = f"{name}_low", f"{name}_high"
    if cell[low] != cell[low]:  # one cell, no interval
        return harm(cell[name], baseline[name], name) > 0
    ends = (cell[high], baseline[low]) if higher_is_better(name) else (cell[low], baseline[high])
    return harm(*ends, name) > 0


def _by_domain(table: pd.DataFrame) -> dict[str, dict[tuple[str, str], Cell]]:
    """The rows of the main table, as selected, under domain and (attack, defence)."""
    cells: dict[str, dict[tuple[str, str], Cell]] = {}
    for row in table[table["selected"]].to_dict("records"):
        cells.setdefault(row["domain"], {})[row["attack"], row["defence"]] = row
    return cells


def _text(cell: Cell, name: str) -> str:
    return with_interval(cell[name], cell[f"{name}_low"], cell[f"{name}_high"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
