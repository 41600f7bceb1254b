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
from lord.show.architecture import architecture
from lord.show.attacks import (
    attack_pictures,
    damage_findings,
    damage_matrix,
    damage_table,
    performance_findings,
    performance_table,
    step_curves,
    step_findings,
    visibility_findings,
)
from lord.show.before_after import before_after
from lord.show.cards import numbers, run_card, source, text
from lord.show.curves import attribute_accuracy, metric_curves, objective_curves, training_curves
from lord.show.first_page import answer, pages
from lord.show.gates import (
    audit_findings,
    audit_matrix,
    gate_by_timestep,
    gate_findings,
    gate_grid,
    layer_matrix,
    reliability,
    sampled_gates,
)
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
from lord.show.robustness import stranger_findings
from lord.show.tables import cost_table, defence_cost_table, rank_cost_table
from lord.show.transfer import transfer_matrix
