"""λ otherwise than learned: fixed in stage 2, or computed from more or less."""

from lord.experiments.lord.conditions import ablation

EXPERIMENT = ablation("lambda", "what the gate does, learned or fixed")
