"""What things take: seconds and memory."""

from collections.abc import Sequence

import pandas as pd

from lord.experiments.lord.cost import STAGE1
from lord.experiments.lord.protocol import TRAINED
from lord.names import PURIFIERS
from lord.record import Record


def performance_table(records: Sequence[Record]) -> pd.DataFrame:
    """What things take: a row for a gradient step of each attack, and for each use of a defence.

    The column ``experiment`` tells the two apart, ``performance`` and ``cost``.
    """
    rows = [
        {"experiment": record.kind} | row
        for record in records
        if record.kind in ("performance", "cost")
        for row in costs_of(record)
    ]
    return pd.DataFrame(rows)


def defence_costs(records: Sequence[Record]) -> pd.DataFrame:
    """What each defence takes before a LoRA can learn behind it.

    The columns ``defence_seconds`` and ``defence_memory_mb``, at the peak and of the whole process
    with the model in it, and ``defence_for``, what for: a purifier takes them for the photographs
    of a ``"subject"``, every time; a trained defence once for a model and a ``"domain"``. The
    seconds of that are counted: its training steps (measured in ``cost``) and, for each of its
    pictures, the gradient steps of its attack (in ``performance``, another run), without those of a
    surrogate; the memory is that of a training step.

    Args:
        records: among them those of cost, performance and stage1.
    """
    costs = performance_table(records).set_index("step")
    table = [
        (name, costs.loc[name, "seconds"], costs.loc[name, "peak_memory_mb"], "subject")
        for name in PURIFIERS
        if name in costs.index
    ]
    trained = {r.settings["defence"]: r.settings for r in records if r.kind == "stage1"}
    for defence, settings in trained.items():
        training, data = (settings[name] for name in TRAINED[defence])
        alike = next(name for name in STAGE1 if TRAINED[name][0] == TRAINED[defence][0])
        step, attack = costs.loc[STAGE1[alike]], data["attack"]
        seconds = training["steps"] * step["seconds"]
        if gradients := attack["steps"] * attack["rounds"] * attack["draws"]:
            methods = attack.get("methods", [attack["method"]])  # in turn
            per_image = costs.loc[methods, "seconds_per_image"].mean()
            seconds += data["identities"] * gradients * per_image
        table.append((defence, seconds, step["peak_memory_mb"], "domain"))
    columns = ["defence", "defence_seconds", "defence_memory_mb", "defence_for"]
    return pd.DataFrame(table, columns=columns)


def costs_of(record: Record) -> list[dict[str, float | str]]:
    """A row for each step that a record has measured, a column for each quantity."""
    table: dict[str, dict[str, float]] = {}
    for key, value in record.metrics.items():
        name, _, column = key.rpartition("/")
        table.setdefault(name, {})[column] = value
    return [{"step": name} | row for name, row in table.items()]
