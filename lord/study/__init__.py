"""The study: profiles, experiments, their records, and the tables made from them."""

from lord.study.run import RESULTS, missing, run, status
from lord.study.tables import load_records, main_table, selected_treatment

__all__ = [
    "RESULTS",
    "load_records",
    "main_table",
    "missing",
    "run",
    "selected_treatment",
    "status",
]
