"""λ fixed in stage 2, on the identities that decide."""

from lord.experiments.lord.conditions import ablation

EXPERIMENT = ablation(
    "lambda_choice", "which fixed gate does best on identities that are not evaluated"
)
