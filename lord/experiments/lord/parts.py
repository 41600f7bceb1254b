"""LoRD without one of its parts."""

from lord.experiments.lord.conditions import ablation

EXPERIMENT = ablation("parts", "what each part of LoRD does")
