"""What was found, in words, for the chapters of the book: Markdown written from the records."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from lord.experiments.lord import tables
from lord.experiments.lord.protocol import DEFENCES, TRAINED
from lord.record import Record
from lord.show.results import facing_many, result_records
from lord.show.style import ATTACK_NAMES, DEFENCE_NAMES, LEFT_OUT, metric_keys, metric_name


def stranger_findings(profile: str) -> Markdown | HTML:
    """For each defence that faces many attacks, in words: how much it repairs of each but ACE."""
    records = result_records(profile)
    gaps = tables.gaps_closed(records)
    gaps = gaps[gaps["defence"].isin(facing_many(gaps)) & gaps["selected"]]
    gaps = unseen(gaps[gaps["metric"] == "fid"], records).dropna(subset=["closed"])
    if not len(gaps):
        return HTML(LEFT_OUT)
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
