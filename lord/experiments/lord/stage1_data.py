"""Stage 1 with other attacks, or fewer pictures."""

from lord.experiments.lord.conditions import ablation

EXPERIMENT = ablation("stage1_data", "what stage 1 has to see")
