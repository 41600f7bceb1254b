"""Tables made from the records of experiments on LoRD: the data behind what the book shows."""

from lord.experiments.lord.tables.ablations import ablation_table, dose_table, reading_table
from lord.experiments.lord.tables.attacks import attack_table, noise_margins
from lord.experiments.lord.tables.conditions import METRICS, condition_rows, selected_treatment
from lord.experiments.lord.tables.costs import defence_costs, performance_table
from lord.experiments.lord.tables.judges import (
    judge_table,
    judged_standings,
    judges_agreement,
    judges_of,
    screened,
)
from lord.experiments.lord.tables.main import (
    clean_harm,
    correlations,
    gaps_closed,
    main_rows,
    main_table,
    main_table_with_costs,
    rival_table,
    treatment_table,
)
from lord.experiments.lord.tables.standing import standing_table
