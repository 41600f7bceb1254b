"""The first page of the book: its questions, each with a verdict and the numbers behind it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import AS_TRAINED, DEFENCES, PROPOSED, UNCHANGED, VARIANTS
from lord.record import Record
from lord.show.cards import chosen_treatments
from lord.show.findings import attacks_seen, unseen
from lord.show.results import JUDGED, in_book_order, metric_keys, result_records
from lord.show.style import (
    ATTACK_NAMES,
    DEFENCE_NAMES,
    caveats,
    defence_name,
    higher_is_better,
    metric_name,
    treatment_name,
    with_interval,
)
from lord.study.run import run

CLEAN, ATTACKED = ("none", "none"), ("ace", "none")

# The attacks under which defences are compared, as far as there are any: in the published study
# every defence faces these.
COMPARED = ("ace", "ace_plus")

# The share that must be repaired of every gap for a verdict; the first is the goal of the study.
VERDICTS = {"Yes": 0.85, "Largely": 0.5}

NOT_MEASURED = "Not measured at this scale."

Cell = Mapping[str, float]


def summary(profile: str) -> str:
    """The answers to the questions of the book's first page: a verdict, then its numbers.

    Raises:
        FileNotFoundError: records of the profile are missing.
    """
    records = result_records(profile)
    table, gaps = tables.main_table(records), tables.gaps_closed(records)
    parts, adaptive = (run(profile, name, compute=False) for name in ("parts", "adaptive"))
    warnings = []
    for title, text in (caveat.split(": ") for caveat in caveats(records)):
        warnings.append(f":::{{admonition}} {title}\n:class: warning\n\n{text.capitalize()}\n:::\n")
    answers = {
        "Does ACE ruin a LoRA?": _damage(table, records),
        "Does LoRD repair it?": _repair(gaps, records),
        "What should be done with its gate at test time?": _gate(table, gaps, records),
        "Is LoRD ahead of other defences?": _rivals(records),
        "Does it hold against attacks that it has not seen?": _strangers(gaps, records),
        "Does it hold against an attacker who knows it?": _knowing(adaptive, records),
        "Is it the second branch that repairs?": _branch(parts, records),
        "Can LoRD be made better?": _variants(gaps, records),
    }
    lines = [f"{n}. *{q}* {answer}" for n, (q, answer) in enumerate(answers.items(), start=1)]
    return "\n".join([*warnings, *lines, "", _reading(profile, table), ""])


def _reading(profile: str, table: pd.DataFrame) -> str:
    """How the numbers are to be read."""
    subjects, seeds = table["subjects"].max(), table["seeds"].max()
    text = f"Profile `{Path(profile).stem}`: {_count(subjects, 'subject')} and "
    text += f"{_count(seeds, 'seed')} in each domain, "
    text += "no intervals" if subjects * seeds == 1 else "95 % intervals in brackets"
    if seeds > 1:
        text += ", in which seeds of a subject, alike as they are, count for fewer"
    shares = ", ".join(f"“{word}” at least {share:.0%}" for word, share in VERDICTS.items())
    return (
        f"{text}. What is closed is a share of the gap between LoRAs on attacked and on clean "
        f"photographs; by the least share of an answer, {shares}."
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
    return f"**{verdict}.** With it {'; '.join(parts)}."


def _repair(gaps: pd.DataFrame, records: Sequence[Record]) -> str:
    """How far does LoRD bring the metrics back?"""
    gaps = gaps[(gaps["attack"] == "ace") & (gaps["defence"] == PROPOSED) & gaps["selected"]]
    gaps = gaps[gaps["metric"].isin(JUDGED)]
    closed = "; ".join(_closed(rows, records) for _, rows in gaps.groupby("metric", sort=False))
    return (
        f"**{_verdict(gaps['closed'])}.** With the test-time treatment chosen on other identities "
        f"it closes {closed}."
    )


def _closed(gaps: pd.DataFrame, records: Sequence[Record]) -> str:
    """The shares of one metric, on every domain."""
    metric = metric_name(metric_keys(records)[gaps["metric"].iloc[0]])
    shares = [f"{_share(row)} on {row['domain']}" for row in gaps.to_dict("records")]
    return f"by {metric} {_listed(shares)}"


def _gate(table: pd.DataFrame, gaps: pd.DataFrame, records: Sequence[Record]) -> str:
    """Which treatment was chosen, and what the gate does as trained."""
    verdict = "Not leave it as it was trained" if _untrusted(table) else "Undecided"
    chosen = chosen_treatments(records, list(_by_domain(table)))
    text = f"**{verdict}.** Chosen on identities that are not evaluated: {chosen}."
    trained = gaps[(gaps["attack"] == "ace") & (gaps["defence"] == PROPOSED)]
    trained = trained[trained["treatment"] == AS_TRAINED[PROPOSED]]
    if len(trained):
        text += f" As trained, it closes {_closed(trained[trained['metric'] == 'fid'], records)}."
    return (
        f"{text} {{doc}}`notebooks/09_lord_stage2` compares treatments, "
        "{doc}`notebooks/13_lambda` explains them."
    )


def _untrusted(table: pd.DataFrame) -> bool:
    """Whether under ACE LoRD as trained has a worse FID than as chosen, in every domain."""
    ours = table[(table["attack"] == "ace") & (table["defence"] == PROPOSED)]
    pairs = [
        (rows[rows["treatment"] == AS_TRAINED[PROPOSED]], rows[rows["selected"]])
        for _, rows in ours.groupby("domain")
    ]
    return all(
        len(trained) and is_worse(trained.iloc[0], chosen.iloc[0], "fid")
        for trained, chosen in pairs
    )


def _rivals(records: Sequence[Record]) -> str:
    """Which defences LoRD is ahead of or behind, and which each of its variants is."""
    keys, leads = metric_keys(records), tables.rival_table(records)
    against = _standing(leads)
    if not len(against):
        return NOT_MEASURED
    attacks = [ATTACK_NAMES[name] for name in COMPARED if name in set(leads["attack"])]
    text = f"**Of {against['everywhere'].sum()} of {len(against)}, everywhere.** Under "
    text += f"{_listed(attacks)}, by {_listed([metric_name(keys[name]) for name in JUDGED])}, on "
    text += f"the same subjects and seeds, it is {_ahead_and_behind(against)}."
    for variant in VARIANTS:
        if len(of_variant := _standing(tables.rival_table(records, variant))):
            text += f" {_capitalised(DEFENCE_NAMES[variant])} is {_ahead_and_behind(of_variant)}."
    if leads["lead_low"].notna().any():
        text += " A difference counts if its interval does not contain 0."
    return text


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


def _ahead_and_behind(against: pd.DataFrame) -> str:
    """The rows of `_standing` in words."""
    groups = {
        "everywhere": against["everywhere"],
        "in some respects": against["ahead"] & ~against["everywhere"],
        "nowhere": ~against["ahead"],
    }
    ahead = [f"{words} of {_defences(who)}" for words, who in groups.items() if who.any()]
    behind = against["behind"]
    behind = f"in some respects behind {_defences(behind)}" if behind.any() else "behind none"
    return f"ahead {', '.join(ahead)}, and {behind}"


def _defences(which: pd.Series) -> str:
    return _listed([DEFENCE_NAMES[name] for name in DEFENCE_NAMES if which.get(name)])


def _strangers(gaps: pd.DataFrame, records: Sequence[Record]) -> str:
    """How LoRD does against the other attacks it faces, and defences that face all of these."""
    gaps = unseen(gaps[gaps["selected"] & gaps["metric"].isin(JUDGED)], records)
    gaps = gaps.dropna(subset=["closed"])
    ours = gaps[gaps["defence"] == PROPOSED]
    if not len(ours):
        return NOT_MEASURED
    attacks = [ATTACK_NAMES[name] for name in ATTACK_NAMES if name in set(ours["attack"])]
    facing = gaps.groupby("defence")["attack"].agg(set)
    facing = [name for name in DEFENCES if facing.get(name) == set(ours["attack"])]
    said, listed = [], list(dict.fromkeys((PROPOSED, *facing)))
    for defence in listed:
        ranges = [
            f"{_range(rows['closed'])} by {metric_name(metric_keys(records)[name])}"
            for name, rows in gaps[gaps["defence"] == defence].groupby("metric", sort=False)
        ]
        said.append(f"{DEFENCE_NAMES[defence]} {_listed(ranges)}")
    return (
        f"**{_verdict(ours['closed'])}.** {attacks_seen(records, listed)} "
        f"Under {_listed(attacks)} close, from the least to the most over attacks and domains: "
        f"{'; '.join(said)}. "
        "{doc}`notebooks/15_transfer` looks further."
    )


def _range(shares: pd.Series) -> str:
    ends = dict.fromkeys(f"{share:z.0%}" for share in (shares.min(), shares.max()))
    return " to ".join(ends)


def _knowing(adaptive: Sequence[Record], records: Sequence[Record]) -> str:
    """How our defence does against attackers who know it, and others against those they have."""
    if not adaptive:
        return NOT_MEASURED
    keys = metric_keys(records)
    everyone = tables.ablation_table([*adaptive, *records], "adaptive")
    table = everyone[everyone["defence"] == PROPOSED]
    knowing, usual = (table[(table["variant"] != UNCHANGED) == known] for known in (True, False))
    usual = usual.set_index(["attack", "domain", "treatment"])
    worst, said = [], []
    for (attack, treatment), rows in in_book_order(knowing).groupby(
        ["attack", "treatment"], sort=False
    ):
        parts = []
        for name in JUDGED:
            least = rows.groupby("domain", sort=False)[f"{name}_closed"].min().dropna()
            shares = [
                f"{share:z.0%} on {domain} (instead of "
                f"{usual.loc[(attack, domain, treatment), f'{name}_closed']:z.0%})"
                for domain, share in least.items()
            ]
            worst += least.tolist()
            parts += [f"by {metric_name(keys[name])} {_listed(shares)}"] if shares else []
        if parts:
            said.append(f"under {ATTACK_NAMES[attack]} {_listed(parts)}")
    if not said:
        return NOT_MEASURED
    treatments = " or ".join(map(treatment_name, table["treatment"].unique()))
    return (
        f"**{_verdict(worst)}.** With the worst of {knowing['variant'].nunique()} such attackers, "
        f"picked afterwards for each number, LoRD ({treatments}) closes {'; '.join(said)}, in "
        f"{_count(table['cells'].max(), 'cell')} of each domain.{_known_rivals(everyone, keys)} "
        "{doc}`notebooks/16_adaptive` has them all."
    )


def _known_rivals(table: pd.DataFrame, keys: Mapping[str, str]) -> str:
    """A sentence for each other defence that faced attackers who know it, at its worst."""
    knowing = table[(table["variant"] != UNCHANGED) & (table["defence"] != PROPOSED)]
    sentences = []
    for who, rows in in_book_order(knowing).groupby(["defence", "treatment"], sort=False):
        said = []
        for attack, cells in rows.groupby("attack", sort=False):
            least = cells.groupby("domain")[[f"{name}_closed" for name in JUDGED]].min().dropna()
            ranges = [
                f"{_range(least[f'{name}_closed'])} by {metric_name(keys[name])}" for name in JUDGED
            ]
            said += [f"under {ATTACK_NAMES[attack]} {_listed(ranges)}"] if len(least) else []
        name = defence_name(*who)
        attackers = _count(rows["variant"].nunique(), "attacker")
        known = f"{_capitalised(name)}, known to {attackers}, closes at its worst"
        sentences += [f" {known} {'; '.join(said)}."] if said else []
    return "".join(sentences)


def _branch(parts: Sequence[Record], records: Sequence[Record]) -> str:
    """Whether a plain LoRA that stage 1 has trained in place of a LoRD repairs as much."""
    if not parts:
        return NOT_MEASURED
    table = tables.ablation_table([*parts, *records], "parts")
    rows = table[table["attack"] == "ace"].set_index(["defence", "domain", "treatment"])
    plain, lord = (rows[rows["variant"] == name] for name in ("one_branch", UNCHANGED))
    lord = lord.loc[lord["fid_closed"] > 0, "fid_closed"].reindex(plain.index).dropna()
    if not len(lord):
        return NOT_MEASURED
    kept = plain["fid_closed"].loc[lord.index] / lord
    verdict = "No" if kept.min() >= 0.9 else "In part" if kept.max() >= 0.5 else "Yes"
    said = []
    for defence, replaced in lord.groupby("defence", sort=False):
        shares = [
            f"{row['fid_closed']:z.0%} on {domain} ({DEFENCE_NAMES[defence]} {share:z.0%}; worse "
            f"in {row['fid_worse']:.0f} of {_count(row['cells'], 'cell')})"
            for ((_, domain, _), row), share in zip(
                plain.loc[replaced.index].iterrows(), replaced, strict=True
            )
        ]
        said.append(f"in place of {DEFENCE_NAMES[defence]} {_listed(shares)}")
    treatments = " or ".join(map(treatment_name, lord.index.unique("treatment")))
    return (
        f"**{verdict}.** A plain LoRA that stage 1 has trained, {treatments} as LoRD is here, "
        f"closes by {metric_name(metric_keys(records)['fid'])} {'; '.join(said)}. "
        "{doc}`notebooks/14_parts` takes LoRD apart."
    )


def _variants(gaps: pd.DataFrame, records: Sequence[Record]) -> str:
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
        shares = [
            f"{DEFENCE_NAMES[name]} "
            + _listed([_range(rows.xs(metric, level="metric")[name]) for metric in metrics])
            for name in rows
        ]
        said.append(f"under {ATTACK_NAMES[attack]} {', '.join(shares)}")
    names = _listed([f"by {metric_name(metric_keys(records)[name])}" for name in JUDGED])
    return (
        f"**{verdict}.** What closes {names}, each from domain to domain: {'; '.join(said)}. "
        "{doc}`notebooks/08_lord_stage1` says what they are, {doc}`notebooks/10_results` more."
    )


def _verdict(shares: Sequence[float]) -> str:
    """How much the shares of the damage repaired come to, in a word, by the least of them."""
    known = [share for share in shares if share == share]
    if not known:
        return "There was nothing to repair"
    for word, least in VERDICTS.items():
        if min(known) >= least:
            return word
    return "In part" if max(known) >= min(VERDICTS.values()) else "Hardly"


def _share(gap: Cell) -> str:
    """A share of the damage, with its interval if it has one."""
    if gap["closed"] != gap["closed"]:
        return "nothing, for want of a gap,"
    text = f"{gap['closed']:z.0%}"
    if gap["closed_low"] == gap["closed_low"]:
        text += f" [{gap['closed_low']:z.0%}, {gap['closed_high']:z.0%}]"
    return text


def _capitalised(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


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


def _text(cell: Cell, name: str) -> str:
    return with_interval(cell[name], cell[f"{name}_low"], cell[f"{name}_high"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
