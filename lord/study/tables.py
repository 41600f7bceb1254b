"""Tables made from records: the data behind what the book shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from lord.files import save_png, write_text
from lord.metrics.interval import mean_interval
from lord.metrics.validation import HIGHER_IS_BETTER
from lord.record import Record, read_record
from lord.study.plan import CONDITIONS, Job, jobs
from lord.study.profile import Profile

# Columns of the main table after domain, attack and defence.
METRICS = {"fid": "_round_trip", "clip_iqa": "", "identity": ""}

# The last thing that is made of the records.
OVERVIEW = "overview.png"


def load_records(profile: Profile, folder: Path, stage: str | None = None) -> list[Record]:
    """The finished records, of the whole profile or of one stage, in planned order."""
    wanted = [job for job in jobs(profile) if stage in (None, job.stage)]
    return [
        read_record(folder / f"{name}.json")
        for job in wanted
        for name in job.outputs
        if is_finished(job, name, folder)
    ]


def is_finished(job: Job, name: str, folder: Path) -> bool:
    """Whether a record of a job is there, and belongs to the settings as they are."""
    path = folder / f"{name}.json"
    return path.exists() and read_record(path).key == job.key(name)


def metric(record: Record, name: str) -> float:
    """``fid`` (against references after the VAE), ``clip_iqa`` or ``identity``, of any networks.

    NaN where it was not measured: no network knows the attributes of a hub model's pictures.
    """
    suffix = METRICS[name]
    keys = [k for k in record.metrics if k.startswith(name) and k.endswith(suffix)]
    return record.metrics[keys[0]] if keys else float("nan")


def selected_treatment(records: Sequence[Record], domain: str) -> str:
    """The test-time treatment with the lowest FID on stage-1 identities of the domain.

    Raises:
        LookupError: treatments have not been compared on this domain.
    """
    rows = condition_rows(records, "stage2")
    candidates = rows[rows["candidate"] & (rows["domain"] == domain)] if len(rows) else rows
    if not len(candidates):
        raise LookupError(f"no test-time treatment has been selected for {domain}")
    return str(candidates.groupby("treatment")["fid"].mean().idxmin())


def condition_rows(records: Sequence[Record], stage: str = "main") -> pd.DataFrame:
    """One row for every record of a stage: condition, subject, seed, treatment and the metrics."""
    names = ("domain", "subject", "seed", "defence", "treatment", "candidate")
    rows = []
    for record in records:
        if record.kind != stage:
            continue
        row = {key: record.settings[key] for key in names}
        row["attack"] = record.settings["attack_name"]
        rows.append(row | {name: metric(record, name) for name in METRICS})
    return pd.DataFrame(rows)


def summarise(rows: pd.DataFrame) -> dict[str, float | int]:
    """Means over cells (subject × seed) with 95 % intervals, and how many cells there are."""
    summary: dict[str, float | int] = {}
    for name in METRICS:
        values = rows[name].dropna().tolist()
        if len(values) > 1:
            interval = mean_interval(values)
            bounds = {f"{name}_low": interval.low, f"{name}_high": interval.high}
        else:  # one cell has no interval
            bounds = {f"{name}_low": float("nan"), f"{name}_high": float("nan")}
        summary |= {name: rows[name].mean()} | bounds
    return summary | {"subjects": rows["subject"].nunique(), "seeds": rows["seed"].nunique()}


def main_table(records: Sequence[Record]) -> pd.DataFrame:
    """The main table: one row per domain and condition, LoRD at its selected treatment."""
    rows = condition_rows(records)
    table = []
    for domain in rows["domain"].unique():
        for attack, defence in CONDITIONS:
            treatment = selected_treatment(records, domain) if defence == "lord" else "none"
            cells = rows[
                (rows["domain"] == domain)
                & (rows["attack"] == attack)
                & (rows["defence"] == defence)
                & (rows["treatment"] == treatment)
            ]
            if len(cells):
                head = {"domain": domain, "attack": attack, "defence": defence}
                table.append(head | summarise(cells))
    return pd.DataFrame(table)


def treatment_table(records: Sequence[Record], stage: str = "main") -> pd.DataFrame:
    """One row per domain and test-time treatment of LoRD on attacked photographs.

    Of the evaluated subjects or, with the stage ``stage2``, of the identities that decide.
    """
    rows = condition_rows(records, stage)
    rows = rows[(rows["attack"] != "none") & (rows["defence"] == "lord")]
    table = []
    for (domain, treatment), cells in rows.groupby(["domain", "treatment"], sort=False):
        selected = treatment == selected_treatment(records, domain)
        head = {"domain": domain, "treatment": treatment, "selected": selected}
        table.append(head | summarise(cells))
    return pd.DataFrame(table)


def gaps_closed(table: pd.DataFrame) -> pd.DataFrame:
    """Share of the damage that LoRD repairs: (attacked − LoRD) / (attacked − clean), per metric.

    NaN where the attack did no damage.
    """
    rows = []
    for domain, part in table.groupby("domain", sort=False):
        cells = part.set_index(["attack", "defence"])
        clean, attacked = cells.loc[("none", "none")], cells.loc[("ace", "none")]
        defended = cells.loc[("ace", "lord")]
        for name in METRICS:
            gap = attacked[name] - clean[name]
            harmed = gap < 0 if name.startswith(HIGHER_IS_BETTER) else gap > 0
            share = (attacked[name] - defended[name]) / gap if harmed else float("nan")
            rows.append({"domain": domain, "metric": name, "closed": share})
    return pd.DataFrame(rows)


def write_tables(profile: Profile, folder: Path) -> None:
    """Write the tables and the overview once all records they need are there."""
    records = load_records(profile, folder)
    planned = [job for job in jobs(profile) if job.stage in ("ace", "stage2", "main")]
    if {record.name for record in records}.issuperset(
        name for job in planned for name in job.outputs
    ):
        main = main_table(records).drop(columns=["identity_low", "identity_high"])
        for name, table in (("main_table", main), ("treatments", treatment_table(records))):
            write_text(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
        write_overview(profile, folder, records)


def write_overview(profile: Profile, folder: Path, records: Sequence[Record]) -> None:
    """Write ``overview.png``: for each domain, photographs and samples of every condition.

    The first subject and seed, the first samples: nothing is chosen by its looks.
    """
    strips = []
    for domain in profile.domains:
        photographs = Image.open(folder / f"{domain}-ace.png")
        strips.append(photographs.crop((0, 0, photographs.width, profile.size)))
        for attack, defence in CONDITIONS[:3]:
            treatment = selected_treatment(records, domain) if defence == "lord" else "none"
            condition = {
                "domain": domain,
                "subject": profile.subjects[0],
                "seed": profile.seeds[0],
                "attack_name": attack,
                "defence": defence,
                "treatment": treatment,
            }
            matching = [
                r for r in records if r.kind == "main" and condition.items() <= r.settings.items()
            ]
            strips.append(Image.open(folder / f"{matching[0].name}.png"))
    width = min(strip.width for strip in strips)  # there may be fewer photographs than samples
    picture = np.concatenate([np.asarray(strip)[:, :width] for strip in strips])
    pixels = torch.from_numpy(picture).permute(2, 0, 1) / 255
    save_png(pixels.repeat_interleave(2, 1).repeat_interleave(2, 2), folder / OVERVIEW)
