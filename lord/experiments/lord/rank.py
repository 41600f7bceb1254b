"""LoRD and LoRA of several ranks."""

from lord.experiments.lord.conditions import ablation

EXPERIMENT = ablation("rank", "what the rank of the adapters does", costs=("rank_cost",))
