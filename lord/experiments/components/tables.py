"""Tables of edits: means with intervals over pictures, and paired differences to the control."""

from collections.abc import Mapping, Sequence

import pandas as pd

from lord.experiments.components.protocol import SIMILARITIES
from lord.metrics.interval import mean_interval, ratio_interval
from lord.record import Record

PLACES = ("domain", "task", "component", "steps", "scheduler", "variant", "defence")
"""The coordinates that tell records apart, as far as they have them."""

PER_PICTURE = (*SIMILARITIES, "clip_score")
OF_A_SET = ("fid", "inception_score")

RESAMPLES = 4000
"""Bootstrap samples of an interval over dozens of pictures; a row has a dozen intervals."""


def paired_table(records: Sequence[Record]) -> pd.DataFrame:
    """A row for each record: edits of attacked and of noisy pictures, and the attack's lead.

    ``lead_…`` is the mean over pictures of noise minus attack, the same picture in both, with its
    interval: above 0, the attack has changed the edit more than noise of its energy.
    """
    return pd.DataFrame([_places(record) | _numbers(record) for record in records])


def lead(record: Record) -> float:
    """How many dB of PSNR edits lose to the attack beyond noise of its energy, on average."""
    return record.metrics["noise/psnr"] - record.metrics["attack/psnr"]


def transfer_table(records: Sequence[Record]) -> pd.DataFrame:
    """A row for each attacker and each victim, with what is left of the attack on oneself.

    ``share`` is the lead over noise of the attack, over that of the victim's own attack on the same
    pictures; NaN where the victim has none or its lead is not surely above 0.
    """
    rows = []
    own = {_victim(r): r for r in records if r.settings["source"] == r.settings["victim"]}
    for record in records:
        settings = record.settings
        row = {name: settings[name] for name in ("kind", "domain", "source", "victim")}
        row |= _numbers(record) | dict.fromkeys(("share", "share_low", "share_high"), float("nan"))
        itself = own.get(_victim(record))
        if itself is not None:
            leads = [_leads(one, "psnr") for one in (record, itself)]
            if mean_interval(leads[1], resamples=RESAMPLES).low > 0:
                row |= _named("share", ratio_interval(*leads, resamples=RESAMPLES))
        rows.append(row)
    return pd.DataFrame(rows)


def _victim(record: Record) -> tuple[str, str, str]:
    return tuple(record.settings[name] for name in ("kind", "domain", "victim"))


def _places(record: Record) -> dict[str, str]:
    return {name: record.settings[name] for name in PLACES if name in record.settings}


def _numbers(record: Record) -> dict[str, float]:
    """All that a record says of edits, with intervals where it says it of each picture."""
    row: dict[str, float] = {"pictures": len(record.series["attack/psnr"])}
    for measure in PER_PICTURE:
        for name in ("attack", "noise"):
            values = record.series[f"{name}/{measure}"]
            row |= _named(f"{measure}_{name}", mean_interval(values, resamples=RESAMPLES))
        leads = _leads(record, measure)
        row |= _named(f"lead_{measure}", mean_interval(leads, resamples=RESAMPLES))
    for name in ("clean", "attack", "noise"):
        for measure in OF_A_SET:
            if f"{name}/{measure}" in record.metrics:
                row[f"{measure}_{name}"] = record.metrics[f"{name}/{measure}"]
    for name, value in record.metrics.items():
        if name.startswith(("known/", "moved/", "defended/")) or name == "change_levels":
            row[name.replace("/", "_")] = value
    return row


def _leads(record: Record, measure: str) -> list[float]:
    """Noise minus attack, picture by picture."""
    pairs = zip(record.series[f"noise/{measure}"], record.series[f"attack/{measure}"], strict=True)
    return [noise - attack for noise, attack in pairs]


def _named(name: str, interval: Sequence[float]) -> Mapping[str, float]:
    mean, low, high = interval
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
