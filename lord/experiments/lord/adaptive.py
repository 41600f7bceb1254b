"""Attackers who know the defence."""

from collections.abc import Sequence

from lord.experiments.lord.conditions import ablation
from lord.record import Record


def shown(records: Sequence[Record]) -> Sequence[Record]:
    """The pictures under ACE of the first subject and seed, defences dropped."""
    first = next((r.settings for r in records if r.kind == "main"), {})
    return [
        record
        for record in records
        if record.kind == "adaptive"
        and all(record.settings[name] == first.get(name) for name in ("subject", "seed"))
        and record.settings["attack_name"] == "ace"
        and record.settings["treatment"] in ("none", "dropped")
    ]


EXPERIMENT = ablation("adaptive", "whether defences hold when they are known", kept=shown)
