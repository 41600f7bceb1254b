"""What was found, in words, for the chapters of the book: Markdown written from the records."""

from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML, Markdown

from lord.record import Record
from lord.show.results import facing_many, metric_keys, result_records
from lord.show.style import ATTACK_NAMES, DEFENCE_NAMES, LEFT_OUT, metric_name
from lord.study import tables
from lord.study.profile import DEFENCES, TRAINED


def stranger_findings(profile: str) -> Markdown | HTML:
    """For each defence that faces many attacks, in words: how much it repairs of each but ACE."""
    records = result_records(profile)
    gaps = tables.gaps_closed(records)
    gaps = gaps[gaps["defence"].isin(facing_many(gaps))]
    said = _stranger_shares(gaps)
    if not said:
        return HTML(LEFT_OUT)
    name = metric_name(metric_keys(records)["fid"])
    basis = f"{attacks_seen(records)} Of the {name} gap that an attack opens close, behind"
    return Markdown("\n".join([basis, "", *(f"- {text}" for text in said)]))


def _stranger_shares(gaps: pd.DataFrame) -> list[str]:
    """How much of the FID gap each defence closes under attacks other than ACE, as chosen."""
    gaps = gaps[gaps["selected"] & (gaps["metric"] == "fid") & (gaps["attack"] != "ace")]
    gaps, said = gaps.dropna(subset=["closed"]), []
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


def attacks_seen(records: Sequence[Record]) -> str:
    """Which attacks trained defences have learned from, in a sentence."""
    trained = {record.settings["defence"]: record.settings for record in records}
    seen = {trained[d][TRAINED[d][1]]["attack"]["method"] for d in TRAINED if d in trained}
    return f"Trained defences have seen {' and '.join(sorted(map(ATTACK_NAMES.get, seen)))} alone."
