"""Tables made from records: the data behind what the book shows."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lord.attacks.settings import NOISE
from lord.files import save_png, write_text
from lord.metrics.interval import (
    design_effect,
    intraclass_correlation,
    mean_interval,
    ratio_interval,
)
from lord.names import HIGHER_IS_BETTER, PURIFIERS
from lord.record import Record
from lord.study.experiments.cost import STAGE1
from lord.study.plan import jobs
from lord.study.profile import OURS, TRAINED, UNCHANGED, VARIANTS, Profile
from lord.study.store import Store

# A defence that leaves a choice at test time, left as it was trained.
AS_TRAINED = {"adversarial": "kept"} | dict.fromkeys((OURS, *VARIANTS), "learned")

# The harm to clean photographs that is tolerated, as a share of the damage of ACE.
TOLERATED = 0.1

# Columns of the main table: what names a row, and what is measured, after the record's suffix.
CONDITION = ["domain", "attack", "defence", "treatment", "selected"]
METRICS = {"fid": "_round_trip", "clip_iqa": "", "identity": ""}


def metric(record: Record, name: str) -> float:
    """``fid`` (against references after the VAE), ``clip_iqa`` or ``identity``, of any networks.

    NaN where it was not measured: no network knows the attributes of a hub model's pictures.
    """
    suffix = METRICS[name]
    keys = [k for k in record.metrics if k.startswith(name) and k.endswith(suffix)]
    return record.metrics[keys[0]] if keys else float("nan")


def selected_treatment(records: Sequence[Record], domain: str, defence: str = OURS) -> str:
    """The test-time treatment of a defence with the lowest FID on stage-1 identities of the domain.

    Raises:
        LookupError: treatments have not been compared on this domain.
    """
    rows = condition_rows(records, "stage2")
    if len(rows):
        rows = rows[(rows["domain"] == domain) & (rows["defence"] == defence)]
    candidates = rows[rows["candidate"]] if len(rows) else rows
    if not len(candidates):
        raise LookupError(f"no test-time treatment of {defence} has been selected for {domain}")
    return str(candidates.groupby("treatment")["fid"].mean().idxmin())


def condition_rows(records: Sequence[Record], *stages: str) -> pd.DataFrame:
    """One row for every record of the stages: its condition, and the metrics."""
    names = ("domain", "split", "subject", "seed", "defence", "treatment", "candidate")
    rows = []
    for record in records:
        if record.kind not in stages:
            continue
        row = {key: record.settings[key] for key in names}
        attack = record.settings.get("attack", {"eps": 0, "steps": 0, "rounds": 1})
        scenario = record.settings.get("scenario", {})
        row |= {
            "stage": record.kind,
            "attack": record.settings["attack_name"],
            "eps_levels": round(attack["eps"] * 255, 6),
            "steps": attack["steps"] * attack["rounds"],
            "rounds": attack["rounds"],
            "rank": record.settings["finetune"]["rank"],
            "stage2_gate": scenario.get("stage2_gate", "learned"),
            "attacked_share": scenario.get("attacked_share", 1.0) if attack["eps"] else 0.0,
            "variant": record.settings.get("variant", UNCHANGED),
            "ssim": record.metrics["ssim"],
        }
        rows.append(row | {name: metric(record, name) for name in METRICS})
    return pd.DataFrame(rows)


def correlations(records: Sequence[Record]) -> dict[str, float]:
    """The intraclass correlation of each metric: how alike seeds of one subject come out.

    Over the rows of the main table; `lord.metrics.interval` says what it is for.
    """
    return _correlations(main_rows(records), CONDITION)


def _correlations(rows: pd.DataFrame, keys: list[str]) -> dict[str, float]:
    """Of each metric, over the groups of rows that agree in the columns ``keys``."""
    groups = [cells for _, cells in rows.groupby(keys)]
    return {name: _correlation((c[name], c["subject"]) for c in groups) for name in METRICS}


def _correlation(groups: Iterable[tuple[pd.Series, pd.Series]]) -> float:
    return intraclass_correlation(
        (values.dropna(), subjects[values.notna()]) for values, subjects in groups
    )


def _summaries(
    rows: pd.DataFrame, keys: list[str], correlation: Mapping[str, float]
) -> pd.DataFrame:
    """A row for every value of the columns ``keys``: means over cells (subject × seed).

    With 95 % intervals, and how many subjects and seeds there are.
    """
    table = []
    for key, cells in rows.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        for name in METRICS:
            row |= _mean_with_interval(name, cells[name], cells["subject"], correlation[name])
        counts = {f"{name}s": cells[name].nunique() for name in ("subject", "seed")}
        table.append(row | counts)
    return pd.DataFrame(table)


def _mean_with_interval(
    name: str, values: pd.Series, subjects: pd.Series, correlation: float
) -> dict[str, float]:
    """The mean and the ends of its 95 % interval, NaN for one value alone; all NaN for none.

    Args:
        subjects: whom each value is of.
        correlation: of the values of one subject.
    """
    subjects, values = subjects[values.notna()], values.dropna()
    low = high = float("nan")
    if len(values) > 1:
        _, low, high = mean_interval(values, design_effect(subjects, correlation))
    return {name: values.mean(), f"{name}_low": low, f"{name}_high": high}


def main_table(records: Sequence[Record]) -> pd.DataFrame:
    """The main table: one row per domain, attack and defence.

    A defence with several test-time treatments has a row for itself as trained and a row for the
    treatment that was selected, if that is another; the column ``selected`` tells them apart.
    """
    rows = main_rows(records)
    return _summaries(rows, CONDITION, _correlations(rows, CONDITION))


def main_rows(records: Sequence[Record]) -> pd.DataFrame:
    """The cells of the main table, see there."""
    rows = _with_choice(records)
    as_trained = rows["treatment"] == rows["defence"].map(AS_TRAINED)
    return rows[rows["selected"] | as_trained]


def _with_choice(records: Sequence[Record]) -> pd.DataFrame:
    """All cells of the stage ``main``; ``selected`` are those with the treatment chosen, if any."""
    rows = condition_rows(records, "main")
    several = rows["defence"].isin(AS_TRAINED)
    chosen = {
        pair: selected_treatment(records, *pair)
        for pair in set(zip(rows["domain"], rows["defence"], strict=True))
        if pair[1] in AS_TRAINED
    }
    best = [chosen.get(pair) for pair in zip(rows["domain"], rows["defence"], strict=True)]
    rows["selected"] = ~several | (rows["treatment"] == pd.Series(best, index=rows.index))
    return rows


def rival_table(records: Sequence[Record], ours: str = OURS) -> pd.DataFrame:
    """By how much one defence, as selected, is better than each other one.

    On the same subjects and seeds. One row for each domain, attack, rival and metric: the mean
    difference ``lead``, above 0 where it is the better, with a 95 % interval if there are several
    cells (else NaN).
    """
    rows, shared, rival = main_rows(records), ["domain", "attack"], ["defence", "treatment"]
    lords = rows[rows["defence"].isin((OURS, *VARIANTS)) & rows["selected"]]
    # Over the rivals of all of these, so that two of them compare alike whichever is ours.
    alike = _correlations(_differences(rows, lords, shared), [*shared, *rival, "defence_reference"])
    own = rows["defence"] == ours
    return _worse(rows[~own], lords[lords["defence"] == ours], shared, rival, "lead", alike)


def clean_harm(records: Sequence[Record]) -> pd.DataFrame:
    """By how much a LoRA on clean photographs is worse behind a defence than without.

    On the same subjects and seeds. One row for each domain, defence, treatment (chosen or not) and
    metric, the attack being ``none``: the mean difference ``harm``, above 0 where the defence does
    harm, with a 95 % interval, and the ``margin``, a tenth of what ACE does to a LoRA without a
    defence. A defence is not inferior to none if the interval ends below the margin.
    """
    rows = _with_choice(records)
    undefended = rows[rows["defence"] == "none"]
    clean, attacked = (undefended[undefended["attack"] == name] for name in ("none", "ace"))
    defended = rows[(rows["attack"] == "none") & (rows["defence"] != "none")]
    own = ["defence", "treatment", "selected"]
    table = _worse(defended, clean, ["domain", "attack"], own, "harm")
    damage = _worse(attacked, clean, ["domain"], [], "margin")
    damage["margin"] *= TOLERATED
    return table.merge(damage[["domain", "metric", "margin"]], on=["domain", "metric"])


def _worse(
    rows: pd.DataFrame,
    reference: pd.DataFrame,
    shared: list[str],
    own: list[str],
    name: str,
    alike: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """By how much rows are worse than the reference on the same subject and seed.

    One row for each metric and each value of the columns ``shared``, in which row and reference
    agree, and ``own``: the mean difference under ``name``, above 0 where it is worse, with a 95 %
    interval if there are several cells (else NaN).

    Args:
        alike: the intraclass correlation of the differences; None: as estimated from them.
    """
    pairs, table = _differences(rows, reference, shared), []
    alike = alike or _correlations(pairs, [*shared, *own])
    for (key, cells), metric in product(pairs.groupby([*shared, *own], sort=False), METRICS):
        if cells[metric].notna().any():
            head = dict(zip([*shared, *own], key, strict=True)) | {"metric": metric}
            values, subjects = cells[metric], cells["subject"]
            table.append(head | _mean_with_interval(name, values, subjects, alike[metric]))
    return pd.DataFrame(
        table, columns=[*shared, *own, "metric", name, f"{name}_low", f"{name}_high"]
    )


def _differences(rows: pd.DataFrame, reference: pd.DataFrame, shared: list[str]) -> pd.DataFrame:
    """Rows with, for each metric, by how much they are worse than the reference beside them."""
    pairs = rows.merge(reference, on=[*shared, "subject", "seed"], suffixes=("", "_reference"))
    for metric in METRICS:
        above = pairs[metric] - pairs[f"{metric}_reference"]
        pairs[metric] = -above if metric.startswith(HIGHER_IS_BETTER) else above
    return pairs


def treatment_table(records: Sequence[Record], stage: str = "main") -> pd.DataFrame:
    """One row per domain and test-time treatment of LoRD on photographs attacked by ACE.

    Of the evaluated subjects or, with the stage ``stage2``, of the identities that decide.
    """
    rows = condition_rows(records, stage)
    rows = rows[(rows["attack"] == "ace") & rows["defence"].isin((OURS, *VARIANTS))]
    keys = ["domain", "defence", "treatment"]
    table = _summaries(rows, keys, correlations(records))
    best = [selected_treatment(records, *pair) for pair in table[keys[:2]].to_numpy()]
    table.insert(len(keys), "selected", table["treatment"] == best)
    return table


def attack_table(records: Sequence[Record]) -> pd.DataFrame:
    """LoRAs without a defence: a row for each domain, attack, budget and number of steps.

    The column ``experiment`` tells the two comparisons apart: ``damage``, of attacks and budgets,
    and ``steps``, of how long ACE runs. The main table's cells take part, as far as they are of the
    same attacks, subjects and seeds.
    """
    rows = condition_rows(records, "main", "damage", "steps")
    rows = rows[rows["defence"] == "none"]
    places = pd.MultiIndex.from_frame(rows[["domain", "subject", "seed"]])
    keys = ["domain", "attack", "eps_levels", "steps", "rounds"]
    alike, parts = _correlations(rows, keys), []
    for experiment in ("damage", "steps"):
        own = rows["stage"] == experiment
        chosen = rows["stage"].isin(("main", experiment)) & places.isin(places[own])
        if experiment == "steps":
            chosen &= rows["attack"].isin(("none", *rows["attack"][own]))
        if not chosen.any():
            continue
        table = _summaries(rows[chosen], keys, alike)
        table["ssim"] = rows[chosen].groupby(keys, sort=False)["ssim"].mean().to_numpy()
        table.insert(0, "experiment", experiment)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def noise_margins(records: Sequence[Record]) -> pd.DataFrame:
    """By how much attacks are worse than noise of the same ε, on the same subjects and seeds.

    One row for each domain, attack, ε and metric: the mean difference, above 0 where the attack
    does more damage, with a 95 % interval if there are several cells (else NaN).
    """
    rows = condition_rows(records, "main", "damage")
    rows = rows[(rows["defence"] == "none") & (rows["attack"] != "none")]
    control = rows[rows["attack"] == NOISE]
    attacks = rows[rows["attack"] != NOISE]
    return _worse(attacks, control, ["domain", "eps_levels"], ["attack"], "margin")


def ablation_table(records: Sequence[Record], stage: str) -> pd.DataFrame:
    """One row for every domain, variant, attack, defence and treatment of an ablation.

    The variant ``UNCHANGED`` are the same conditions, subjects and seeds in the main table or, for
    an ablation on the identities of stage 1 that decide, in the stage ``stage2``. An
    ablation has too few cells for an interval: the columns ``_low`` and ``_high`` are the lowest
    and the highest cell. Further columns, for FID and CLIP-IQA:

    - ``_clean`` and ``_attacked``, the means of LoRAs without a defence on clean photographs and
      under the attack: those of the same variant where it has them, else those of the main table,
      on the same subjects and seeds; NaN on the identities of stage 1;
    - ``_closed``, the share of that damage that the defence, if any, repairs (see `gaps_closed`);
    - ``_worse``, in how many of the ``cells`` it is worse than the unchanged variant with the same
      treatment; NaN where that is not there.

    Where their costs were measured, also ``adapter_thousands``, the parameters of all adapters, and
    ``step_seconds``, of a step of stage 2.
    """
    rows = condition_rows(records, stage)
    main = condition_rows(records, "main" if "evaluation" in set(rows["split"]) else "stage2")
    condition, cell = ["domain", "attack", "defence", "treatment"], ["subject", "seed"]
    asked = pd.MultiIndex.from_frame(rows[[*condition, *cell]])
    same = main[pd.MultiIndex.from_frame(main[[*condition, *cell]]).isin(asked)]
    rows, table = pd.concat((same, rows)), []
    for key, cells in rows.groupby(["variant", *condition], sort=False):
        head = dict(zip(["variant", *condition], key, strict=True))
        head |= cells[["rank", "stage2_gate"]].iloc[0].to_dict()
        head |= {"cells": len(cells)}
        own = rows[(rows["domain"] == head["domain"]) & (rows["variant"] == head["variant"])]
        clean, attacked = (
            _undefended(own, main[main["domain"] == head["domain"]], name, cells)
            for name in ("none", head["attack"])
        )
        unchanged = same[(same[condition] == list(key[1:])).all(axis=1)].set_index(cell)
        cells = cells.set_index(cell)
        head |= _mean_with_ends(cells)
        for name in ("fid", "clip_iqa"):
            sign = -1 if name.startswith(HIGHER_IS_BETTER) else 1
            gap = attacked[name] - clean[name]
            repairs = head["defence"] != "none" and sign * gap > 0
            share = (attacked[name] - cells[name].mean()) / gap if repairs else float("nan")
            above = sign * (cells[name] - unchanged[name].reindex(cells.index))
            worse = (above > 0).sum() if above.notna().all() else float("nan")
            head |= {f"{name}_clean": clean[name], f"{name}_attacked": attacked[name]}
            head |= {f"{name}_closed": share, f"{name}_worse": worse}
        table.append(head)
    costs = [row for record in records if record.kind == f"{stage}_cost" for row in _costs(record)]
    if not costs:
        return pd.DataFrame(table)
    costs = pd.DataFrame(costs)
    costs[["variant", "defence"]] = costs.pop("step").str.split("/", expand=True)
    return pd.DataFrame(table).merge(costs, how="left", on=["variant", "defence"])


def dose_table(records: Sequence[Record], stage: str, dose: str) -> pd.DataFrame:
    """Metrics against how much was attacked: one row for every domain, defence, treatment and dose.

    The variants of an ablation that change the dose of its first attack, between the same cells of
    the main table: the unchanged attack, and clean photographs, where the dose is 0.

    Args:
        dose: ``"attacked_share"``, of the photographs, or ``"eps_levels"``.
    """
    rows, main = condition_rows(records, stage), condition_rows(records, "main")
    rows = rows[rows["attack"] == next(name for name in rows["attack"] if name != "none")]
    usual = main[main["attack"].isin(rows["attack"])]
    ends = pd.concat((usual, main[main["attack"] == "none"]))
    cell = ["domain", "subject", "seed", "defence", "treatment"]
    asked = pd.MultiIndex.from_frame(rows[cell])
    ends = ends[pd.MultiIndex.from_frame(ends[cell]).isin(asked)]
    between = rows[~rows[dose].isin(usual[dose])]
    doses = pd.concat((ends, between)).sort_values(dose, kind="stable")
    keys = ["domain", "defence", "treatment", dose]
    table = [
        dict(zip(keys, key, strict=True)) | _mean_with_ends(cells)
        for key, cells in doses.groupby(keys, sort=False)
    ]
    return pd.DataFrame(table)


def _mean_with_ends(cells: pd.DataFrame) -> dict[str, float]:
    """The mean of every metric, and its lowest and highest cell if there are several (else NaN)."""
    found = {}
    for name in METRICS:
        ends = cells[name].min(), cells[name].max()
        low, high = ends if len(cells) > 1 else (float("nan"), float("nan"))
        found |= {name: cells[name].mean(), f"{name}_low": low, f"{name}_high": high}
    return found


def _undefended(
    own: pd.DataFrame, main: pd.DataFrame, attack: str, cells: pd.DataFrame
) -> pd.Series:
    """Mean metrics of undefended LoRAs under an attack, on the subjects and seeds of ``cells``."""
    for rows in (own, main):
        rows = rows[(rows["attack"] == attack) & (rows["defence"] == "none")]
        places = rows.set_index(["subject", "seed"]).index
        wanted = cells.set_index(["subject", "seed"]).index
        if wanted.isin(places).all():
            return rows[places.isin(wanted)][["fid", "clip_iqa"]].mean()
    return pd.Series({"fid": float("nan"), "clip_iqa": float("nan")})


def performance_table(records: Sequence[Record]) -> pd.DataFrame:
    """What things take: a row for a gradient step of each attack, and for each use of a defence.

    The column ``experiment`` tells the two apart, ``performance`` and ``cost``.
    """
    rows = [
        {"experiment": record.kind} | row
        for record in records
        if record.kind in ("performance", "cost")
        for row in _costs(record)
    ]
    return pd.DataFrame(rows)


def defence_costs(records: Sequence[Record]) -> pd.DataFrame:
    """What each defence takes before a LoRA can learn behind it.

    The columns ``defence_seconds`` and ``defence_memory_mb``, at the peak and of the whole process
    with the model in it, and ``defence_for``, what for: a purifier takes them for the photographs
    of a ``"subject"``, every time; a trained defence once for a model and a ``"domain"``. The
    seconds of that are counted: its training steps (measured in the stage cost) and, for each of
    its pictures, the gradient steps of its attack (in performance, another run), without those of a
    surrogate; the memory is that of a training step.

    Args:
        records: among them those of the stages cost, performance and stage1.
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


def _costs(record: Record) -> list[dict[str, float | str]]:
    """A row for each step that a record has measured, a column for each quantity."""
    table: dict[str, dict[str, float]] = {}
    for key, value in record.metrics.items():
        name, _, column = key.rpartition("/")
        table.setdefault(name, {})[column] = value
    return [{"step": name} | row for name, row in table.items()]


def gaps_closed(records: Sequence[Record]) -> pd.DataFrame:
    """Share of the damage that a defence repairs: (attacked − defended) / (attacked − clean).

    Of means over the same subjects and seeds. One row for each domain, attack, defence, treatment
    and metric: the share ``closed``, NaN where the attack did no damage, with a 95 % interval if
    there are several cells and the damage is surely above 0 (else NaN).
    """
    rows, places = main_rows(records), ["domain", "subject", "seed"]
    undefended = rows[rows["defence"] == "none"]
    clean = undefended[undefended["attack"] == "none"]
    pairs = rows[(rows["attack"] != "none") & (rows["defence"] != "none")]
    pairs = pairs.merge(clean[[*places, *METRICS]], on=places, suffixes=("", "_clean"))
    places.append("attack")
    pairs = pairs.merge(undefended[[*places, *METRICS]], on=places, suffixes=("", "_attacked"))
    for metric in METRICS:
        sign = -1 if metric.startswith(HIGHER_IS_BETTER) else 1
        attacked = sign * pairs[f"{metric}_attacked"]
        pairs[f"{metric}_damage"] = attacked - sign * pairs[f"{metric}_clean"]
        pairs[f"{metric}_repair"] = attacked - sign * pairs[metric]
    groups = list(pairs.groupby(CONDITION, sort=False))
    alike = {m: _correlation(_left_of_share(cells, m) for _, cells in groups) for m in METRICS}
    table = [
        dict(zip(CONDITION, key, strict=True))
        | {"metric": metric}
        | _share_with_interval(cells, metric, alike[metric])
        for (key, cells), metric in product(groups, METRICS)
    ]
    return pd.DataFrame(table)


def _left_of_share(cells: pd.DataFrame, metric: str) -> tuple[pd.Series, pd.Series]:
    """What the share of the means leaves unexplained of each cell's repair, and its subject.

    That is what the interval of a ratio comes from; nothing where there was no damage.
    """
    repair, damage = cells[f"{metric}_repair"], cells[f"{metric}_damage"]
    share = repair.mean() / damage.mean() if damage.mean() > 0 else float("nan")
    return repair - share * damage, cells["subject"]


def _share_with_interval(cells: pd.DataFrame, metric: str, correlation: float) -> dict[str, float]:
    repair, damage = cells[f"{metric}_repair"], cells[f"{metric}_damage"]
    share = low = high = float("nan")
    if damage.mean() > 0:
        share = repair.mean() / damage.mean()
        if len(damage) > 1:
            _, low, high = ratio_interval(
                repair, damage, design_effect(cells["subject"], correlation)
            )
    return {"closed": share, "closed_low": low, "closed_high": high}


def write_tables(profile: Profile, store: Store, records: Sequence[Record]) -> list[Path]:
    """Write each table all of whose records are there, and the overview; return the files.

    Args:
        records: those of the profile that are there, in planned order.
    """
    finished = {record.name for record in records}

    def complete(*stages: str) -> bool:
        return all(finished.issuperset(job.outputs) for job in jobs(profile) if job.stage in stages)

    timed = complete("performance", "cost", "stage1") and profile.timing

    tables = {}
    if profile.timing and complete("performance", "cost"):
        tables["performance"] = performance_table(records)
    if complete("main", "damage", "steps"):
        tables["attacks"] = attack_table(records)
    results = complete("ace", "stage2", "main")
    if results:
        tables["main_table"] = main_table(records)
        if timed:
            costs = defence_costs(records)
            tables["main_table"] = tables["main_table"].merge(costs, how="left", on="defence")
        tables["rivals"] = rival_table(records)
        tables["clean_harm"] = clean_harm(records)
        tables["treatments"] = treatment_table(records)
    for stage in profile.ablations:
        if complete(stage, f"{stage}_cost", "stage2", "main"):
            tables[f"ablation_{stage}"] = ablation_table(records, stage)
    written = []
    for name, table in tables.items():
        written.append(store.folder / f"{name}.csv")
        write_text(written[-1], table.to_csv(index=False, float_format="%.6g"))
    if results and all(map(store.has_sheet, overview_records(profile, records))):
        written.append(write_overview(profile, store, records))
    return written


def overview_records(profile: Profile, records: Sequence[Record]) -> list[Record]:
    """For each domain, the attacked photographs and the samples of every condition.

    The first subject and seed: nothing is chosen by its looks.
    """
    shown = []
    for domain in profile.domains:
        shown.append(next(r for r in records if r.name == f"{domain}-ace"))
        for attack, defence in (("none", "none"), ("ace", "none"), ("ace", OURS)):
            treatment = selected_treatment(records, domain) if defence == OURS else "none"
            condition = {
                "domain": domain,
                "subject": profile.subjects[0],
                "seed": profile.seeds[0],
                "attack_name": attack,
                "defence": defence,
                "treatment": treatment,
            }
            shown.append(
                next(
                    r
                    for r in records
                    if r.kind == "main" and condition.items() <= r.settings.items()
                )
            )
    return shown


def write_overview(profile: Profile, store: Store, records: Sequence[Record]) -> Path:
    """Write ``overview.png``: the first row of each of the `overview_records`, twice as large."""
    rows = [store.sheet(r)[: profile.size] for r in overview_records(profile, records)]
    width = min(row.shape[1] for row in rows)  # there may be fewer photographs than samples
    picture = np.concatenate([row[:, :width] for row in rows])
    pixels = torch.from_numpy(picture).permute(2, 0, 1) / 255
    path = store.folder / "overview.png"
    save_png(pixels.repeat_interleave(2, 1).repeat_interleave(2, 2), path)
    return path


def shown_sheets(profile: Profile, records: Sequence[Record]) -> list[Record]:
    """The records whose pictures chapters show; the others are not kept.

    The results' samples (every subject at the first seed), each attack at the budget, each
    attacker who knows the defence, and the attacked photographs.
    """
    first = (profile.subjects[0], profile.seeds[0])
    shown = [r for r in records if r.kind == "ace"]
    for record in records:
        own = record.settings
        if record.kind not in ("main", "damage", "adaptive") or own["seed"] != first[1]:
            continue
        attack, defence, treatment = (own[k] for k in ("attack_name", "defence", "treatment"))
        here = (own["subject"], own["seed"]) == first
        chosen = defence == "none" and attack in ("none", "ace")
        if defence == OURS and attack == "ace":
            chosen = treatment == selected_treatment(records, own["domain"])
        elsewhere = record.kind == "main" and chosen
        undefended = here and defence == "none" and record.kind in ("main", "damage")
        at_budget = "attack" not in own or own["attack"]["eps"] == profile.budget.eps_levels / 255
        compared = here and attack == "ace" and treatment in ("none", "dropped")
        if elsewhere or (undefended and at_budget) or (compared and record.kind != "damage"):
            shown.append(record)
    return shown
