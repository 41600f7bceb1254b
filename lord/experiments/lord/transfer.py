"""Other domains, other doses and longer training than those LoRD is trained for."""

from lord.experiments.lord.conditions import ablation

EXPERIMENT = ablation("transfer", "how far LoRD reaches")
