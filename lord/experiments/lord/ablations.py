"""Cells of the main table under changed settings, a question each."""

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


PARTS = ablation("parts", "what each part of LoRD does")
STAGE1_DATA = ablation("stage1_data", "what stage 1 has to see")
RANK = ablation("rank", "what the rank of the adapters does", costs=("rank_cost",))
GATE = ablation("lambda", "what the gate does, learned or fixed")
GATE_CHOICE = ablation(
    "lambda_choice", "which fixed gate does best on identities that are not evaluated"
)
TRANSFER = ablation("transfer", "how far LoRD reaches")
ADAPTIVE = ablation("adaptive", "whether defences hold when they are known", kept=shown)
