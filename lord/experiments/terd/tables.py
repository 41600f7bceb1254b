"""The tables of TERD: inputs told apart, models told apart, and where finding a backdoor ends."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from lord.backdoors.calibration import Calibration
from lord.backdoors.settings import LEAST_CLEAN, SUSPECTED
from lord.experiments.terd.protocol import Suspect
from lord.metrics.interval import share_interval
from lord.record import Record

WORKS = 0.5
"""A backdoor works if at least this share of triggered samples is the target."""

FEATURES = {
    "terd": ("negative/kl_mean", "negative/kl_variance"),
    "terd_both": ("most/kl_mean", "most/kl_variance"),
    "norm": ("most/norm_found",),
    "elijah": ("likeness",),
}
"""What detectors compare with clean models: high values are suspicious. TERD starts from negative
numbers, as published; or from both signs, and whichever goes further counts."""

TOLD = (
    "benign",
    "triggered",
    "energy_benign",
    "energy_triggered",
    "values_benign",
    "values_triggered",
)
"""Shares of inputs told right: by the likelihood ratio, by energy, and by values."""

REVERSED = ("kl_mean", "kl_variance", "norm_found")
"""What is kept of a reversion, for each start."""


def model_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row for each clean or backdoored model of the zoo, with the verdict of each detector."""
    return _judged(records, ("clean", "backdoored"))


def frontier_table(records: Sequence[Record]) -> pd.DataFrame:
    """The same for models whose backdoors are weak, small, rare or made by who knows TERD."""
    return _judged(records, ("frontier",))


def input_table(records: Sequence[Record]) -> pd.DataFrame:
    """Shares of inputs told right with what was reversed out of each model, and by rivals.

    The intervals are exact, of 95 %. Rivals need no reversion: their numbers are the same for both
    starts of a model.
    """
    rivals = {record.seed: record.metrics for record in _of("input_rivals", records)}
    rows = []
    for record in _of("reversion", records):
        if "triggered" not in record.metrics:
            continue  # a clean model has no triggered inputs
        found, count = record.metrics | rivals.get(record.seed, {}), int(record.metrics["inputs"])
        row = {"group": record.settings["group"], **_suspect(record), "inputs": count}
        for name in TOLD:
            if name in found:
                ends = share_interval(round(found[name] * count), count)
                row |= {name: found[name], f"{name}_low": ends.low, f"{name}_high": ends.high}
        if "likeness_ordered" in found:
            row["likeness_ordered"] = found["likeness_ordered"]
        row["start"] = record.settings["start"]
        rows.append(row | {"cosine": record.series["cosine"][-1]})
    return pd.DataFrame(rows)


def latent_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row for each fine-tune of the latent model, with the verdicts of TERD."""
    rows = []
    for record in _of("latent_backdoor", records):
        target = record.settings["target"]
        row = {"group": "clean" if target == "none" else "backdoored", "target": target}
        row |= {"seed": record.seed, **record.metrics}
        row["works"] = record.metrics.get("success", 0) >= WORKS
        for name in REVERSED:
            row[f"most/{name}"] = max(v for k, v in row.items() if k.endswith(f"/{name}"))
        rows.append(row)
    _add_verdicts(rows)
    return pd.DataFrame(rows)


def _judged(records: Sequence[Record], groups: tuple[str, ...]) -> pd.DataFrame:
    """All measures of the models of some groups, and what each detector says of them."""
    suspects = _merged(records)
    _add_verdicts(suspects)
    return pd.DataFrame([row for row in suspects if row["group"] in groups])


def _add_verdicts(suspects: Sequence[dict[str, Any]]) -> None:
    """Give each model the score, the p-value and the verdict of every detector asked of all."""
    clean = [row for row in suspects if row["group"] == "clean"]
    for detector, names in FEATURES.items():
        if not all(name in row for row in suspects for name in names) or len(clean) < LEAST_CLEAN:
            continue
        calibration = Calibration([[row[name] for name in names] for row in clean])
        place = {row["seed"]: k for k, row in enumerate(clean)}
        for row in suspects:
            # A clean model is judged by the others.
            own = row["group"] == "clean"
            by = calibration.without(place[row["seed"]]) if own else calibration
            found = [row[name] for name in names]
            row[f"{detector}_score"] = by.score(found)
            row[f"{detector}_p"] = by.p_value(found)
            row[f"{detector}_suspected"] = row[f"{detector}_p"] < SUSPECTED


def _merged(records: Sequence[Record]) -> list[dict[str, Any]]:
    """What all experiments say of each model."""
    found: dict[int, dict[str, Any]] = {}
    for record in _of("backdoors", records):
        row = {"group": record.settings["group"], **_suspect(record), **record.metrics}
        row["works"] = record.metrics.get("success", 0) >= WORKS
        found[record.seed] = row
    for record in _of("reversion", records):
        row, start = found[record.seed], record.settings["start"]
        values = record.metrics | {name: series[-1] for name, series in record.series.items()}
        for name in (*REVERSED, "cosine", "relative_distance"):
            if name in values:
                row[f"{start}/{name}"] = values[name]
        for name in REVERSED:
            row[f"most/{name}"] = max(values[name], row.get(f"most/{name}", 0.0))
    for record in _of("elijah", records):
        found[record.seed] |= record.metrics
    return list(found.values())


def _suspect(record: Record) -> dict[str, float | str]:
    """What tells a model from others; older records lack what was added with a default."""
    usual = Suspect().model_dump(mode="json")
    return {**usual, **record.settings["suspect"], "seed": record.seed}


def _of(kind: str, records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.kind == kind]
