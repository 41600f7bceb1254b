"""What was found on attacks that are unseen or know the defence, and on its parts, in words."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from IPython.display import Markdown

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import DEFENCES, PROPOSED, TRAINED, UNCHANGED
from lord.record import Record
from lord.show.results import JUDGED, facing_many, result_records
from lord.show.style import (
    ATTACK_NAMES,
    DEFENCE_NAMES,
    LeftOut,
    defence_name,
    metric_keys,
    metric_name,
    treatment_name,
    where_planned,
)
from lord.show.tables import in_book_order
from lord.show.words import (
    NOT_MEASURED,
    Answer,
    capitalised,
    count,
    listed,
    share_range,
    verdict,
)


@where_planned
def stranger_findings(profile: str) -> Markdown:
    """For each defence that faces many attacks, in words: how much it repairs of each but ACE."""
    records = result_records(profile)
    gaps = tables.gaps_closed(records)
    gaps = gaps[gaps["defence"].isin(facing_many(gaps)) & gaps["selected"]]
    gaps = unseen(gaps[gaps["metric"] == "fid"], records).dropna(subset=["closed"])
    if not len(gaps):
        raise LeftOut
    fid = metric_name(metric_keys(records)["fid"])
    seen = attacks_seen(records, gaps["defence"])
    lines = [f"{seen} Of the {fid} gap that an attack opens close, behind", ""]
    for defence in (name for name in reversed(DEFENCES) if name in set(gaps["defence"])):
        shares = [
            f"on {domain} "
            + ", ".join(
                f"{g['closed']:z.0%} ({ATTACK_NAMES[g['attack']]})" for _, g in part.iterrows()
            )
            for domain, part in gaps[gaps["defence"] == defence].groupby("domain", sort=False)
        ]
        lines.append(f"- {DEFENCE_NAMES[defence]} {', '.join(shares)}")
    return Markdown("\n".join(lines))


def unseen(gaps: pd.DataFrame, records: Sequence[Record]) -> pd.DataFrame:
    """The rows of attacks other than ACE that the defence has not learned from."""
    seen = _learned_from(records)
    known = [
        attack in ("ace", *seen.get(defence, ()))
        for attack, defence in zip(gaps["attack"], gaps["defence"], strict=True)
    ]
    return gaps[~np.array(known, dtype=bool)]


def attacks_seen(records: Sequence[Record], defences: Iterable[str]) -> str:
    """Which attacks the trained ones among some defences have learned from, in a sentence."""
    seen, asked = _learned_from(records), set(defences)
    seen = {name: methods for name, methods in seen.items() if name in asked}
    alone = {ATTACK_NAMES[methods[0]] for methods in seen.values() if len(methods) == 1}
    parts = [f"Trained defences have seen {' and '.join(sorted(alone))} alone"] if alone else []
    for name, methods in seen.items():
        if len(methods) > 1:
            parts.append(
                f"{DEFENCE_NAMES[name]} has seen {' and '.join(map(ATTACK_NAMES.get, methods))}"
            )
    return f"{'; '.join(parts)}."


def _learned_from(records: Sequence[Record]) -> dict[str, Sequence[str]]:
    """The attacks of stage 1, for every trained defence."""
    settings = {record.settings["defence"]: record.settings for record in records}
    attacks = {
        name: settings[name][TRAINED[name][1]]["attack"] for name in TRAINED if name in settings
    }
    return {name: attack.get("methods", [attack["method"]]) for name, attack in attacks.items()}


def strangers(gaps: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """How LoRD does against the other attacks it faces, and defences that face all of these."""
    gaps = unseen(gaps[gaps["selected"] & gaps["metric"].isin(JUDGED)], records)
    gaps = gaps.dropna(subset=["closed"])
    ours = gaps[gaps["defence"] == PROPOSED]
    if not len(ours):
        return NOT_MEASURED
    attacks = [ATTACK_NAMES[name] for name in ATTACK_NAMES if name in set(ours["attack"])]
    facing = gaps.groupby("defence")["attack"].agg(set)
    facing = [name for name in DEFENCES if facing.get(name) == set(ours["attack"])]
    said, who = [], list(dict.fromkeys((PROPOSED, *facing)))
    for defence in who:
        ranges = [
            f"{share_range(rows['closed'])} by {metric_name(metric_keys(records)[name])}"
            for name, rows in gaps[gaps["defence"] == defence].groupby("metric", sort=False)
        ]
        said.append(f" {capitalised(DEFENCE_NAMES[defence])} closes {listed(ranges)}.")
    return Answer(
        verdict(ours["closed"]),
        f"at least {ours['closed'].min():z.0%} repaired",
        f"{attacks_seen(records, who)} They face {listed(attacks)}. Shares go from the least to "
        f"the most over attacks and domains.{''.join(said)}",
    )


def knowing(adaptive: Sequence[Record], records: Sequence[Record]) -> Answer:
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
        for name in JUDGED:
            least = rows.groupby("domain", sort=False)[f"{name}_closed"].min().dropna()
            shares = [
                f"{share:z.0%} on {domain} (instead of "
                f"{usual.loc[(attack, domain, treatment), f'{name}_closed']:z.0%})"
                for domain, share in least.items()
            ]
            worst += least.tolist()
            under = f" Under {ATTACK_NAMES[attack]} it closes by {metric_name(keys[name])}"
            said += [f"{under} {'; '.join(shares)}."] if shares else []
    if not said:
        return NOT_MEASURED
    treatments = " or ".join(map(treatment_name, table["treatment"].unique()))
    return Answer(
        verdict(worst),
        f"{min(worst):z.0%} repaired at worst",
        f"Of {knowing['variant'].nunique()} such attackers the worst is picked afterwards for each "
        f"number, in {count(table['cells'].max(), 'cell')} of each domain. LoRD's treatment: "
        f"{treatments}.{''.join(said)}{_known_rivals(everyone, keys)}",
    )


def _known_rivals(table: pd.DataFrame, keys: Mapping[str, str]) -> str:
    """Sentences on each other defence that faced attackers who know it, at its worst."""
    knowing = table[(table["variant"] != UNCHANGED) & (table["defence"] != PROPOSED)]
    sentences = []
    for who, rows in in_book_order(knowing).groupby(["defence", "treatment"], sort=False):
        said = []
        for attack, cells in rows.groupby("attack", sort=False):
            least = cells.groupby("domain")[[f"{name}_closed" for name in JUDGED]].min().dropna()
            ranges = [
                f"{share_range(least[f'{name}_closed'])} by {metric_name(keys[name])}"
                for name in JUDGED
            ]
            closes = f" Under {ATTACK_NAMES[attack]} it closes at worst {listed(ranges)}."
            said += [closes] if len(least) else []
        name = defence_name(*who)
        attackers = count(rows["variant"].nunique(), "attacker")
        known = f" {capitalised(name)} is known to {attackers}."
        sentences += [known, *said] if said else []
    return "".join(sentences)


def branch(parts: Sequence[Record], records: Sequence[Record]) -> Answer:
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
        said += [
            f" In place of {DEFENCE_NAMES[defence]} it closes {row['fid_closed']:z.0%} on {domain} "
            f"(instead of {share:z.0%}; worse in {row['fid_worse']:.0f} of "
            f"{count(row['cells'], 'cell')})."
            for ((_, domain, _), row), share in zip(
                plain.loc[replaced.index].iterrows(), replaced, strict=True
            )
        ]
    treatments = " or ".join(map(treatment_name, lord.index.unique("treatment")))
    return Answer(
        verdict,
        f"{kept.min():.0%} as much without it",
        f"It is a plain LoRA that stage 1 has trained, {treatments} as LoRD is here. Shares are by "
        f"{metric_name(metric_keys(records)['fid'])}.{''.join(said)}",
    )
