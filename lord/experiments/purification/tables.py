"""The tables of purification: defences under threats, and what each attack takes from them."""

from collections.abc import Sequence
from functools import cache

import pandas as pd

from lord.metrics.interval import share_interval
from lord.record import Record

SIGNIFICANT, POWER = 0.05, 0.8
BASELINE = "diffpure"
"""The purifier that others are compared with, picture by picture."""


def defence_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row for each defence and threat: accuracies with exact intervals, and beside DiffPure.

    ``won``, ``lost`` and ``p`` are those of `paired`; ``least_gain`` is the true gain that the test
    would find in 80 % of such studies.
    """
    rows = []
    for record in records:
        settings, count = record.settings, int(record.metrics["images"])
        row = {
            "domain": settings["domain"],
            "defence": settings["defence"],
            "threat": settings["threat_name"],
            "images": count,
            "trials": settings["trials"],
            "attacks": " ".join(attack_names(record)[1:]),
            "mean": record.metrics["right"],
        }
        for name, values in record.series.items():
            row |= _share(name.replace("/", "_"), int(sum(values)), count)
        base = _baseline(record, records)
        if base is not None:
            row |= paired(record, base)
        row["least_gain"] = least_gain(count)
        rows.append(row)
    return pd.DataFrame(rows)


def paired(record: Record, other: Record) -> dict[str, float]:
    """Pictures that one defence holds in the end and another loses, and the reverse.

    ``p`` is that of the sign test (McNemar's, exact); the pictures are the same in both.
    """
    from scipy.stats import binomtest

    pairs = list(zip(record.series["robust/worst"], other.series["robust/worst"], strict=True))
    won, lost = pairs.count((1.0, 0.0)), pairs.count((0.0, 1.0))
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return {"won": won, "lost": lost, "p": p}


def attack_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row for each attack on each defence: what is left after it and those before it."""
    rows = []
    for record in records:
        count, settings = int(record.metrics["images"]), record.settings
        for place, attack in enumerate(attack_names(record)):
            row = {
                "domain": settings["domain"],
                "defence": settings["defence"],
                "threat": settings["threat_name"],
                "place": place,
                "attack": attack,
                "asked": int(record.metrics[f"{attack}/asked"]),
            }
            for name in ("worst", "majority"):
                row |= _share(name, round(record.metrics[f"{attack}/{name}"] * count), count)
            rows.append(row)
    return pd.DataFrame(rows)


def attack_names(record: Record) -> list[str]:
    """The attacks of a record in their order, after ``standard``."""
    return [name.removesuffix("/asked") for name in record.metrics if name.endswith("/asked")]


@cache
def least_gain(count: int) -> float:
    """The least true gain, in pictures won and none lost, that the sign test finds.

    With power 0.8 at a two-sided level of 0.05, for ``count`` pictures; NaN if none is enough.
    """
    from scipy.stats import binom, binomtest

    least = next(
        (k for k in range(1, count + 1) if binomtest(k, k).pvalue < SIGNIFICANT), count + 1
    )
    gains = [share / 1000 for share in range(1, 1001)]
    return next((g for g in gains if binom.sf(least - 1, count, g) >= POWER), float("nan"))


def _share(name: str, hits: int, count: int) -> dict[str, float]:
    """A share with its exact interval (Clopper and Pearson)."""
    mean, low, high = share_interval(hits, count)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _baseline(record: Record, records: Sequence[Record]) -> Record | None:
    """The same classifier behind DiffPure under the same threat, on the same pictures."""
    own = record.settings["defence"]
    wanted = f"{own.split('+')[0]}+{BASELINE}"
    for other in records:
        same = all(
            other.settings[name] == record.settings[name]
            for name in ("domain", "threat_name", "images")
        )
        if same and other.settings["defence"] == wanted != own:
            return other
    return None
