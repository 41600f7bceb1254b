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

CLEAN, ATTACKED = ("none", "none"), ("ace", "none")

Cell = Mapping[str, float]


def summary(profile: str) -> str:
    """The answers to the questions of the book's first page: a verdict, then its numbers.

    Raises:
        FileNotFoundError: records of the profile are missing.
    """
    records = result_records(profile)
    table, gaps = tables.main_table(records), tables.gaps_closed(records)
    parts, adaptive = (
        run(profile, stage, compute=False, results=results_root())
        for stage in ("parts", "adaptive")
    )
    warnings = []
    for title, text in (caveat.split(": ") for caveat in caveats(records)):
        warnings.append(f":::{{admonition}} {title}\n:class: warning\n\n{text.capitalize()}\n:::\n")
    answers = [
        _damage(table, records),
        _repair(gaps, records),
        _gate(table, gaps, records),
        _rivals(records),
        *_strangers(gaps, records),
        *_knowing(adaptive, records),
        *_branch(parts, records),
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
    keys, domains = metric_keys(records), _by_domain(table)
    worse, parts = [], []
    for name in JUDGED:
        changes = []
        for domain, cells in domains.items():
            clean, attacked = cells[CLEAN], cells[ATTACKED]
            worse.append(is_worse(attacked, clean, name))
            changes.append(f"from {_text(clean, name)} to {_text(attacked, name)} on {domain}")
        parts.append(f"{metric_name(keys[name])} goes {_listed(changes)}")
    verdict = "Yes" if all(worse) else "In part" if any(worse) else "Not in this run"
    return f"**Does ACE ruin a LoRA? {verdict}.** With it {'; '.join(parts)}."


def _repair(gaps: pd.DataFrame, records: Sequence[Record]) -> str:
    """How far does LoRD bring the metrics back?"""
    keys = metric_keys(records)
    gaps = gaps[(gaps["attack"] == "ace") & (gaps["defence"] == OURS) & gaps["selected"]]
    gaps = gaps[gaps["metric"].isin(JUDGED)]
    parts = []
    for name, rows in gaps.groupby("metric", sort=False):
        shares = [f"{_share(row)} on {row['domain']}" for row in rows.to_dict("records")]
        parts.append(f"of the {metric_name(keys[name])} gap {_listed(shares)}")
    return (
        f"**Does LoRD repair it? {_verdict(gaps['closed'])}.** With the test-time treatment chosen "
        f"on other identities it closes {'; '.join(parts)}."
    )


def _gate(table: pd.DataFrame, gaps: pd.DataFrame, records: Sequence[Record]) -> str:
    """Which treatment was chosen, and what the gate does as trained."""
    trained = gaps[(gaps["attack"] == "ace") & (gaps["treatment"] == tables.AS_TRAINED[OURS])]
    trained = trained[(trained["defence"] == OURS) & (trained["metric"] == "fid")]
    shares = [f"{_share(row)} on {row['domain']}" for row in trained.to_dict("records")]
    verdict = "Not leave it as it was trained" if _untrusted(table) else "Nothing surely"
    return (
        f"**What should be done with the gate at test time? {verdict}.** Chosen on identities that "
        f"are not evaluated: {chosen_treatments(records, list(_by_domain(table)))}. As trained, "
        f"LoRD closes of the {metric_name(metric_keys(records)['fid'])} gap {_listed(shares)}. "
        "{doc}`notebooks/09_lord_stage2` compares treatments, {doc}`notebooks/13_lambda` explains "
        "them."
    )


def _untrusted(table: pd.DataFrame) -> bool:
    """Whether under ACE LoRD as trained has a worse FID than as chosen, in every domain."""
    ours = table[(table["attack"] == "ace") & (table["defence"] == OURS)]
    worse = []
    for _, rows in ours.groupby("domain"):
        chosen = rows[rows["selected"]].iloc[0]
        worse += [is_worse(row, chosen, "fid") for _, row in rows[~rows["selected"]].iterrows()]
    return bool(worse) and all(worse)


def _rivals(records: Sequence[Record]) -> str:
    """Which defences LoRD is ahead of or behind, on the same subjects and seeds, under ACE."""
    keys, leads = metric_keys(records), tables.rival_table(records)
    # A LoRA alone and a variant of LoRD are no rivals.
    leads = leads[(leads["attack"] == "ace") & ~leads["defence"].isin(("none", "lord_wide"))]
    leads = leads[leads["metric"].isin(JUDGED)]
    leads = leads.assign(
        ahead=leads["lead_low"].fillna(leads["lead"]) > 0,
        behind=leads["lead_high"].fillna(leads["lead"]) < 0,
    )
    # A rival counts with the better of its treatments.
    against = leads.groupby(["defence", "domain", "metric"], sort=False)
    against = against.agg({"ahead": "all", "behind": "any"}).groupby("defence", sort=False)
    ahead, behind = against["ahead"], against["behind"]
    everywhere, nowhere, back = ahead.all(), ~ahead.any(), behind.any()
    groups = {
        "it is ahead everywhere of": everywhere,
        "in some respects of": ~everywhere & ~nowhere,
        "nowhere of": nowhere,
        "and in some respects behind": back,
    }
    said = [
        f"{words} {_listed([DEFENCE_NAMES[name] for name in DEFENCE_NAMES if which.get(name)])}"
        for words, which in groups.items()
        if which.any()
    ]
    metrics = _listed([metric_name(keys[name]) for name in JUDGED])
    return (
        f"**Is LoRD ahead of other defences against ACE? Of {everywhere.sum()} of "
        f"{len(everywhere)}.** By {metrics} on the same subjects and seeds, counting a difference "
        f"only if its interval does not contain 0, {'; '.join(said)}."
    )


def _strangers(gaps: pd.DataFrame, records: Sequence[Record]) -> list[str]:
    """How defences do against the other attacks of the study, if there are any."""
    gaps = _strange(gaps)
    if OURS not in set(gaps["defence"]):
        return []
    said = []
    for defence in (name for name in (OURS, *DEFENCES) if name in set(gaps["defence"])):
        rows = gaps[gaps["defence"] == defence]
        ends = dict.fromkeys(
            f"{share:.0%}" for share in (rows["closed"].min(), rows["closed"].max())
        )
        said.append(f"{DEFENCE_NAMES[defence]} {' to '.join(ends)}")
    said = dict.fromkeys(said)
    ours = gaps.loc[gaps["defence"] == OURS]
    attacks = _listed([ATTACK_NAMES[name] for name in ATTACK_NAMES if name in set(ours["attack"])])
    return [
        f"**Does it hold against other attacks? {_verdict(ours['closed'])}.** {_seen(records)} Of "
        f"the {metric_name(metric_keys(records)['fid'])} gap of {attacks} close: "
        f"{'; '.join(said)}. {{doc}}`notebooks/15_transfer` looks further."
    ]


def _strange(gaps: pd.DataFrame) -> pd.DataFrame:
    """Shares of the FID gap under attacks other than ACE, of defences as chosen."""
    gaps = gaps.dropna(subset=["closed"])
    return gaps[gaps["selected"] & (gaps["metric"] == "fid") & (gaps["attack"] != "ace")]


def stranger_findings(profile: str) -> Markdown | HTML:
    """For each defence that faces more than ACE, in words: how much it repairs of each attack."""
    records = result_records(profile)
    said = _stranger_shares(_strange(tables.gaps_closed(records)))
    if not said:
        return HTML(LEFT_OUT)
    name = metric_name(metric_keys(records)["fid"])
    basis = f"{_seen(records)} Of the {name} gap that an attack opens close, behind"
    return Markdown("\n".join([basis, "", *(f"- {text}" for text in said)]))


def _stranger_shares(gaps: pd.DataFrame) -> list[str]:
    """How much each defence closes, on every domain and under every attack."""
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
    attackers, said, worst = table["variant"].nunique() - 1, [], []
    for attack, cells in in_book_order(table).groupby("attack", sort=False):
        shares = []
        for domain, rows in cells.groupby("domain", sort=False):
            knowing = rows["variant"] != UNCHANGED
            worst.append(rows.loc[knowing, "fid_closed"].min())
            usual = rows.loc[~knowing, "fid_closed"].item()
            shares.append(f"{worst[-1]:.0%} on {domain} (instead of {usual:.0%})")
        said.append(f"of {ATTACK_NAMES[attack]} {_listed(shares)}")
    if not said:
        return []
    treatments = " or ".join(map(treatment_name, table["treatment"].unique()))
    return [
        f"**Does it hold against an attacker who knows it? {_verdict(worst)}.** Of the "
        f"{metric_name(metric_keys(records)['fid'])} gap the worst of {attackers} such attackers, "
        f"picked afterwards, leaves closed: {'; '.join(said)} (LoRD {treatments}, "
        f"{_count(table['cells'].max(), 'cell')} of each domain). {{doc}}`notebooks/16_adaptive` "
        "has them all."
    ]


def _branch(parts: Sequence[Record], records: Sequence[Record]) -> list[str]:
    """Whether a plain LoRA that stage 1 has trained repairs as much, if that was measured."""
    if not parts:
        return []
    table = tables.ablation_table([*parts, *records], "parts")
    table = table[(table["attack"] == "ace") & table["variant"].isin((UNCHANGED, "one_branch"))]
    closed = table.pivot(index="domain", columns="variant", values="fid_closed")
    closed = closed.loc[table["domain"].unique()].dropna()
    if not len(closed):
        return []
    enough = closed["one_branch"] >= closed[UNCHANGED]
    verdict = "No" if enough.all() else "In part" if enough.any() else "Yes"
    shares = [
        f"{row['one_branch']:.0%} on {domain} (LoRD {row[UNCHANGED]:.0%})"
        for domain, row in closed.iterrows()
    ]
    return [
        f"**Is it the second branch that repairs? {verdict}.** A plain LoRA that stage 1 has "
        f"trained in its place, dropped before sampling as LoRD is here, closes of the "
        f"{metric_name(metric_keys(records)['fid'])} gap {_listed(shares)}, in "
        f"{_count(table['cells'].max(), 'cell')} of each domain. {{doc}}`notebooks/14_parts` takes "
        "LoRD apart."
    ]


def _verdict(shares: Sequence[float]) -> str:
    """How much shares of the damage repaired come to, in a word, by the least of them."""
    known = [share for share in shares if share == share]
    if not known:
        return "There was nothing to repair"
    for least, word in ((0.85, "Yes"), (0.5, "Largely")):
        if min(known) >= least:
            return word
    return "In part" if max(known) >= 0.5 else "Hardly"


def _share(gap: Cell) -> str:
    """A share of the damage, with its interval if it has one."""
    if gap["closed"] != gap["closed"]:
        return "nothing, as there was none,"
    text = f"{gap['closed']:.0%}"
    if gap["closed_low"] == gap["closed_low"]:
        text += f" [{gap['closed_low']:.0%}, {gap['closed_high']:.0%}]"
    return text


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


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
