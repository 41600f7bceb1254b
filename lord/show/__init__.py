"""Figures, tables and numbers for the book: everything here reads records and computes nothing.

The two exceptions, `round_trips` and `prompted_samples`, put a handful of images through a model.
Figures are white-backed, tables are pandas Stylers; captions belong to the notebooks.
"""

from lord.show.ablations import (
    ablation_figure,
    ablation_findings,
    ablation_samples,
    ablation_table,
    choice_findings,
    dose_curves,
    rank_curves,
)
from lord.show.attacks import (
    attack_pictures,
    damage_findings,
    damage_matrix,
    damage_table,
    performance_findings,
    performance_table,
    step_curves,
    step_findings,
)
from lord.show.audit import audit_matrix, layer_matrix, reliability
from lord.show.cards import glue_numbers, numbers, run_card, source
from lord.show.curves import (
    attribute_accuracy,
    gate_by_timestep,
    metric_curves,
    objective_curves,
    sampled_gates,
    training_curves,
)
from lord.show.findings import stranger_findings
from lord.show.first_page import summary
from lord.show.gates import gate_findings, gate_grid
from lord.show.pictures import (
    attacked_images,
    image_grid,
    image_rows,
    prompted_samples,
    round_trips,
    sheet,
    treatment_samples,
)
from lord.show.results import (
    gap_closed,
    harm_table,
    main_figure,
    main_table,
    rival_table,
    stranger_figure,
    treatment_comparison,
    treatment_table,
)
from lord.show.tables import cost_table, defence_cost_table, rank_cost_table

__all__ = [
    "ablation_figure",
    "ablation_findings",
    "ablation_samples",
    "ablation_table",
    "attack_pictures",
    "attacked_images",
    "attribute_accuracy",
    "audit_matrix",
    "choice_findings",
    "cost_table",
    "damage_findings",
    "damage_matrix",
    "damage_table",
    "defence_cost_table",
    "dose_curves",
    "gap_closed",
    "gate_by_timestep",
    "gate_findings",
    "gate_grid",
    "glue_numbers",
    "harm_table",
    "image_grid",
    "image_rows",
    "layer_matrix",
    "main_figure",
    "main_table",
    "metric_curves",
    "numbers",
    "objective_curves",
    "performance_findings",
    "performance_table",
    "prompted_samples",
    "rank_cost_table",
    "rank_curves",
    "reliability",
    "rival_table",
    "round_trips",
    "run_card",
    "sampled_gates",
    "sheet",
    "source",
    "step_curves",
    "step_findings",
    "stranger_figure",
    "stranger_findings",
    "summary",
    "training_curves",
    "treatment_comparison",
    "treatment_samples",
    "treatment_table",
]
