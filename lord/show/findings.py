"""What was found, in words, for the chapters of the book: Markdown written from the records."""

from collections.abc import Sequence

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
    gaps = gaps[gaps["defence"].isin(facing_many(gaps)) & gaps["selected"]]
    gaps = gaps[(gaps["metric"] == "fid") & (gaps["attack"] != "ace")].dropna(subset=["closed"])
    if not len(gaps):
        return HTML(LEFT_OUT)
    fid = metric_name(metric_keys(records)["fid"])
    lines = [f"{attacks_seen(records)} Of the {fid} gap that an attack opens close, behind", ""]
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


def attacks_seen(records: Sequence[Record]) -> str:
    """Which attacks trained defences have learned from, in a sentence."""
    settings = {record.settings["defence"]: record.settings for record in records}
    attacks = {d: settings[d][TRAINED[d][1]]["attack"] for d in TRAINED if d in settings}
    seen = {attack["method"] for attack in attacks.values()} - {"mixed"}
    text = f"Trained defences have seen {' and '.join(sorted(map(ATTACK_NAMES.get, seen)))} alone"
    for defence, attack in attacks.items():
        if attack["method"] == "mixed":
            several = " and ".join(map(ATTACK_NAMES.get, attack["methods"]))
            text += f", but for {DEFENCE_NAMES[defence]}, which has seen {several}"
    return f"{text}."
