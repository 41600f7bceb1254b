"""The metrics of records by the columns of the tables that average them."""

from collections.abc import Sequence

from lord.experiments.lord.tables import METRICS
from lord.record import Record


def metric_keys(records: Sequence[Record]) -> dict[str, str]:
    """For each column of the tables, the metric of the records that it averages.

    Without the columns that nothing was measured for. Among the records must be one of the main
    table, or of those that choose the treatments.
    """
    record = next(record for record in records if record.kind in ("main", "selection"))
    return {
        name: key
        for name, suffix in METRICS.items()
        for key in record.metrics
        if key.startswith(name) and key.endswith(suffix)
    }
